package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// superuser is the name of the embedded server's only role and of the database made for us.
const superuser = "reconciler"

// cluster is the data directory of an embedded server:
//
//	lock       held (flock) by the process that runs the server
//	password   of the only role, readable by us alone
//	cluster/   PostgreSQL's own, belongs to the server's user
//	socket/    the unix socket, in a directory that only the server's user and root may enter
type cluster struct {
	dir  string
	user account
	lock *os.File
}

func (c *cluster) data() string         { return filepath.Join(c.dir, "cluster") }
func (c *cluster) sockets() string      { return filepath.Join(c.dir, "socket") }
func (c *cluster) passwordFile() string { return filepath.Join(c.dir, "password") }
func (c *cluster) pidFile() string      { return filepath.Join(c.data(), "postmaster.pid") }

// openCluster makes the directory if it is not there and takes its lock.
func openCluster(ctx context.Context, dir string) (*cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("make %s absolute: %w", dir, err)
	}
	user, err := serverAccount()
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, user: user}
	// 0711: the server's user walks through to its own directories and sees nothing else.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fault.New(fault.PostgresDirectory, "make the directory: %w", err)
	}
	if err := user.mayEnter(dir); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.New(fault.PostgresDirectory, "open the lock file: %w", err)
	}
	if err := waitLock(ctx, file); err != nil {
		_ = file.Close() // Nothing was written; the reason to tell is the lock.
		return nil, fault.New(fault.PostgresBusy, "another process runs a database server in %s: %w", dir, err)
	}
	c.lock = file
	return c, nil
}

// waitLock takes the lock. Whoever was killed a moment ago may still have it.
func waitLock(ctx context.Context, file *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	var last error
	if poll(ctx, func() (bool, error) { last = lockFile(file); return last == nil, nil }) == nil {
		return nil
	}
	return last
}

// close gives the directory free for another process.
func (c *cluster) close() error { return c.lock.Close() }

// major returns the version of the server that made the cluster, 0 if there is none yet.
func (c *cluster) major() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.data(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(c.data()); err == nil {
			return 0, fault.New(fault.PostgresDirectory, "%s is there, but holds no PostgreSQL data", c.data())
		}
		return 0, nil
	}
	if err != nil {
		return 0, fault.New(fault.PostgresDirectory, "read the version of the data: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fault.New(fault.PostgresDirectory, "read the version of the data: %w", err)
	}
	return major, nil
}

// create runs initdb beside the final place and renames at the end, so that a process that dies in the middle leaves
// nothing that looks like a cluster.
func (c *cluster) create(ctx context.Context, b binaries, volatile bool) error {
	making := c.data() + ".making"
	for _, dir := range []string{making, c.sockets()} {
		if err := os.RemoveAll(dir); err != nil {
			return fault.New(fault.PostgresDirectory, "clear what an earlier start left: %w", err)
		}
		if err := c.own(dir); err != nil {
			return err
		}
	}
	password := rand.Text()
	if err := writeSynced(c.passwordFile(), password); err != nil {
		return fault.New(fault.PostgresDirectory, "write the password file: %w", err)
	}
	// initdb runs as the server's user, who cannot read ours.
	handover := filepath.Join(c.sockets(), "password")
	if err := os.WriteFile(handover, []byte(password), 0o600); err != nil {
		return fault.New(fault.PostgresDirectory, "write the password for initdb: %w", err)
	}
	if err := c.user.chown(handover); err != nil {
		return err
	}
	var out bytes.Buffer
	args := []string{"-D", making, "-U", superuser, "-A", "scram-sha-256", "--pwfile", handover,
		"-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"}
	if volatile {
		args = append(args, "--no-sync")
	}
	cmd := c.user.command(b.initdb, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, making
	run, err := start(cmd)
	if err != nil {
		return fault.New(fault.PostgresStart, "run initdb: %w", err)
	}
	if err := run.waitOrKill(ctx); err != nil {
		return fault.New(fault.PostgresStart, "run initdb: %w: %s", err, strings.TrimSpace(out.String()))
	}
	if err := os.Remove(handover); err != nil {
		return fmt.Errorf("remove the password given to initdb: %w", err)
	}
	if err := os.Rename(making, c.data()); err != nil {
		return fault.New(fault.PostgresDirectory, "move the new cluster to its place: %w", err)
	}
	return nil
}

// own makes dir, if it is not there, as a directory that only the server's user may enter.
func (c *cluster) own(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.New(fault.PostgresDirectory, "make the directory: %w", err)
	}
	return c.user.chown(dir)
}

func (c *cluster) password() (string, error) {
	text, err := os.ReadFile(c.passwordFile())
	if err != nil {
		return "", fault.New(fault.PostgresDirectory, "read the database's password: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// writeSynced writes a small file for us alone and waits until it is on the disk.
func writeSynced(path, content string) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.WriteString(content); err != nil {
		return err
	}
	return file.Sync()
}
