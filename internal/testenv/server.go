package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/child"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// Server is a PostgreSQL server of a test's own, which the test may kill, copy, starve and lie to; it keeps its address and
// its data. Its commits wait for the disk. Everybody on this machine may use it while the test runs. Its methods may be called
// from any goroutine, by one at a time.
type Server struct {
	config  ServerConfig
	dir     string
	bin     string
	address string
	account *syscall.Credential
	process *Process // The one that was started last; nil before.
	// limited says that no disk can be made for it.
	limited bool
}

// ServerConfig says how a [Server] runs.
type ServerConfig struct {
	// Settings are NAME=VALUE as for postgres -c.
	Settings []string
	// Env is added to the server's environment.
	Env []string
	// DiskMiB, above 0, has the data on a disk of that size, and the server started again whenever it ends.
	DiskMiB int
}

// NewServer starts a server with the current schema, which ends with the test.
func NewServer(t testing.TB, config ServerConfig) *Server {
	t.Helper()
	s := newServer(t, config)
	if config.DiskMiB == 0 {
		must(t, s.run(t.Context(), filepath.Join(s.bin, "initdb"), s.initdb()...))
	}
	must(t, s.Start(t.Context()))
	_, _, err := postgres.Migrate(t.Context(), s.URL())
	must(t, err)
	return s
}

// newServer makes a place for a server, which has no data yet and does not run.
func newServer(t testing.TB, config ServerConfig) *Server {
	t.Helper()
	bin, err := postgres.BinDir(t.Context(), os.Getenv("PGBIN"))
	must(t, err)
	s := &Server{config: config, bin: bin, dir: serverDirectory(t), address: FreeAddress(t), account: serverUser(t)}
	t.Cleanup(func() {
		if s.process != nil {
			must(t, s.process.endGroup(syscall.SIGQUIT))
		}
	})
	return s
}

// serverDirectory makes a directory that the server's user may use.
func serverDirectory(t testing.TB) string {
	t.Helper()
	// Not t.TempDir, whose parent only we may enter.
	dir, err := os.MkdirTemp("", "reconciler-testserver-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if u := serverUser(t); u != nil {
		if err := os.Chown(dir, int(u.Uid), int(u.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serverUser is who PostgreSQL runs as when we are root, whom it refuses; nil for ourselves.
func serverUser(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// URL returns where clients connect.
func (s *Server) URL() string { return serverURL(s.address) }

// serverURL is the URL of the database of servers at these addresses.
func serverURL(addresses ...string) string {
	return "postgres://reconciler@" + strings.Join(addresses, ",") + "/postgres"
}

// Address returns the server's host and port.
func (s *Server) Address() string { return s.address }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

func (s *Server) initdb() []string {
	return []string{"-D", s.data(), "-U", "reconciler", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions", "--no-sync"}
}

func (s *Server) arguments() []string {
	host, port, _ := net.SplitHostPort(s.address) // We made it.
	args := []string{"-D", s.data(), "-p", port, "-c", "listen_addresses=" + host, "-c", "unix_socket_directories="}
	for _, setting := range s.config.Settings {
		args = append(args, "-c", setting)
	}
	return args
}

// dress has a command run in a directory of [serverDirectory] as its owner, and see nothing of our environment.
func dress(cmd *exec.Cmd, dir string, owner *syscall.Credential) *exec.Cmd {
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = child.Attributes(syscall.SIGQUIT)
	cmd.SysProcAttr.Credential = owner
	return cmd
}

// run runs a program as the server's user to its end.
func (s *Server) run(ctx context.Context, program string, args ...string) error {
	cmd := dress(exec.CommandContext(ctx, program, args...), s.dir, s.account)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// Start starts the server and waits until it answers.
func (s *Server) Start(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	err := poll(ctx, func(ctx context.Context) error {
		select {
		case <-s.process.Done(): // What was killed a moment ago may still have the directory.
			if err := s.launch(); err != nil {
				return err
			}
		default:
		}
		return s.Exec(ctx, "SELECT 1")
	})
	if err != nil {
		return fmt.Errorf("wait for PostgreSQL at %s: %w\n%s", s.address, err, logTail(s.log()))
	}
	return nil
}

func (s *Server) launch() error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), s.arguments()...)
	if s.config.DiskMiB > 0 {
		cmd = s.onOwnDisk()
	}
	dress(cmd, s.dir, s.account)
	cmd.Env = append(cmd.Env, s.config.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := StartProcess(cmd)
	if err == nil {
		s.process = p
	}
	return err
}

// Stop ends the server with a signal and waits until it has ended: SIGINT in good order, SIGQUIT at once, SIGKILL with all
// its processes, which would otherwise end what they are at, as a crash of the machine would.
func (s *Server) Stop(signal syscall.Signal) error {
	var others []int
	if signal == syscall.SIGKILL {
		others = childrenOf(s.process.ID())
	}
	errs := []error{s.process.Signal(signal)}
	for _, pid := range others {
		if err := syscall.Kill(pid, signal); !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, s.process.wait(patience))...)
}

// Restart stops the server with a signal as [Server.Stop] does and starts it again.
func (s *Server) Restart(ctx context.Context, signal syscall.Signal) error {
	if err := s.Stop(signal); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Exec executes one statement on a connection of its own.
func (s *Server) Exec(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// onOwnDisk runs the server in namespaces where its data lie on a small disk in memory: any user may make such, but not everywhere.
// Where nobody may, as below a chroot, a disk that is full is a limit of what the server's processes may write.
func (s *Server) onOwnDisk() *exec.Cmd {
	const script = `size=$1 data=$2 initdb=$3; shift 3
mkdir -p "$data"
if [ "$size" != 0 ]; then mount -t tmpfs -o size="$size"m,mode=0700 none "$data"; fi
eval "$initdb"
trap 'kill -QUIT $child; wait $child; exit' QUIT
while :; do "$@" & child=$!; wait $child || :; sleep 0.1; done`
	initdb := "'" + strings.Join(append([]string{filepath.Join(s.bin, "initdb")}, s.initdb()...), "' '") + "'"
	size, namespaces := s.config.DiskMiB, []string{"unshare", "--user", "--mount", "--map-current-user", "--keep-caps"}
	if exec.Command(namespaces[0], append(namespaces[1:], "true")...).Run() != nil {
		s.limited, namespaces, size = true, []string{"env"}, 0
	}
	args := slices.Concat(namespaces[1:], []string{"sh", "-ec", script, "sh", strconv.Itoa(size), s.data(), initdb,
		filepath.Join(s.bin, "postgres")}, s.arguments())
	return exec.Command(namespaces[0], args...)
}

// FillDisk writes to the server's own disk until it is full, and returns what frees it again.
func (s *Server) FillDisk(ctx context.Context) (free func() error, err error) {
	if s.limited {
		return func() error { return s.limitFiles(ctx, "unlimited") }, s.limitFiles(ctx, "0")
	}
	path := fmt.Sprintf("/proc/%d/root%s/filler", s.process.ID(), s.data())
	// As the server's user: nobody else exists there.
	err = s.run(ctx, "dd", "if=/dev/zero", "of="+path, "bs=64k")
	if err == nil || !strings.Contains(err.Error(), "No space left") {
		return nil, fmt.Errorf("the disk is not full: %w", err)
	}
	return func() error { return s.run(ctx, "rm", path) }, nil
}

// limitFiles sets how many bytes the server's processes, and the loop that starts them, may write into a file. Parents come first, so
// that who is born meanwhile has the limit; who was born while they were looked up gets it the second time.
func (s *Server) limitFiles(ctx context.Context, most string) error {
	// As the server's user, who may limit its own. Who is gone cannot be limited, nor has to be.
	const script = `most=$1
limit() { prlimit --pid "$1" --fsize="$most": 2>/dev/null || :; for below in $(cat /proc/"$1"/task/"$1"/children 2>/dev/null); do limit "$below"; done; }
limit "$2"; limit "$2"`
	return s.run(ctx, "sh", "-c", script, "sh", most, strconv.Itoa(s.process.ID()))
}
