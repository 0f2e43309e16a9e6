//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/innominatus/reconciler/pkg/child"
	"github.com/innominatus/reconciler/pkg/fault"
)

// account is the user that the server runs as: ourselves, or, as root, another one, because PostgreSQL refuses to run as
// root.
type account struct {
	name     string
	uid, gid uint32
	switched bool // We are root and become this user.
}

// serverAccount chooses the user: ourselves unless we are root, else postgres, else nobody.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue // Not on this machine.
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("read the uid of %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("read the gid of %s: %w", name, err)
		}
		return account{name: name, uid: uint32(uid), gid: uint32(gid), switched: true}, nil
	}
	return account{}, fault.New(fault.PostgresMissing, "PostgreSQL does not run as root, and there is neither a user postgres nor nobody").
		Do("Run the reconciler as an ordinary user, or add a user named postgres.")
}

// mayEnter looks whether the user can walk from the root to dir. Access control lists are not looked at.
func (a account) mayEnter(dir string) error {
	if !a.switched {
		return nil
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return fault.New(fault.PostgresDirectory, "look at %s: %w", at, err)
		}
		if !a.mayPass(info) {
			return fault.New(fault.PostgresDirectory, "the database server runs as user %s, who may not enter %s (mode %04o)", a.name, at, info.Mode().Perm()).
				Do("Choose a data directory whose parents everybody may pass, or run: chmod o+x %s", at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

func (a account) mayPass(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	switch mode := info.Mode().Perm(); {
	case stat.Uid == a.uid:
		return mode&0o100 != 0
	case stat.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

func (a account) chown(path string) error {
	if !a.switched {
		return nil
	}
	if err := os.Chown(path, int(a.uid), int(a.gid)); err != nil {
		return fault.New(fault.PostgresDirectory, "give %s to user %s: %w", path, a.name, err)
	}
	return nil
}

// command makes a command of the server's programs that runs as the user, with an environment that holds nothing of
// ours: PGDATA, PGPORT and the like would change what the programs do.
func (a account) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	// SIGINT is PostgreSQL's fast shutdown. Where the kernel does not send it, the next start says that the directory is in use.
	cmd.SysProcAttr = child.Attributes(syscall.SIGINT)
	if a.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return cmd
}

// lockFile takes an exclusive lock that the kernel gives free when this process ends, however it ends.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// alive says whether a process has this id.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
