package testenv

import (
	"context"
	"fmt"
	"github.com/innominatus/reconciler/pkg/child"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/postgres"
)

// Server is a PostgreSQL server of a test's own, which the test may kill, copy, starve and lie to. Its commits wait for the
// disk. Everybody on this machine may use it while the test runs.
type Server struct {
	t      testing.TB
	config ServerConfig
	dir    string
	bin    string
	port   int
	done   chan struct{} // Closed when the process that was started last has ended.
	pid    int
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
	bin, err := postgres.BinDir(t.Context(), os.Getenv("PGBIN"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, config: config, bin: bin, dir: serverDirectory(t), port: freePort(t)}
	if config.DiskMiB == 0 {
		s.run(s.command(filepath.Join(bin, "initdb"), s.initdb()...))
	}
	s.Start()
	if _, _, err := postgres.Migrate(t.Context(), s.URL()); err != nil {
		t.Fatal(err)
	}
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

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// URL returns where clients connect.
func (s *Server) URL() string { return fmt.Sprintf("postgres://reconciler@%s/postgres", s.Address()) }

// Address returns the server's host and port.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) initdb() []string {
	return []string{"-D", s.data(), "-U", "reconciler", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions", "--no-sync"}
}

func (s *Server) arguments() []string {
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
	for _, setting := range s.config.Settings {
		args = append(args, "-c", setting)
	}
	return args
}

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = s.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}, s.config.Env...)
	cmd.SysProcAttr = child.Attributes(syscall.SIGQUIT)
	cmd.SysProcAttr.Credential = serverUser(s.t)
	return cmd
}

func (s *Server) run(cmd *exec.Cmd) {
	s.t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// Start starts the server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.launch()
	Until(s.t, "PostgreSQL to answer", func() bool {
		select {
		case <-s.done: // What was killed a moment ago may still have the directory.
			s.launch()
		default:
		}
		return s.Exec("SELECT 1") == nil
	}, func() string { return s.Address() + " does not" })
}

func (s *Server) launch() {
	s.t.Helper()
	cmd := s.command(filepath.Join(s.bin, "postgres"), s.arguments()...)
	if s.config.DiskMiB > 0 {
		cmd = s.onOwnDisk()
	}
	s.start(cmd)
}

// start starts a process that ends with the test at the latest.
func (s *Server) start(cmd *exec.Cmd) {
	s.t.Helper()
	s.done = make(chan struct{})
	started := make(chan error, 1)
	done := s.done
	go func() {
		// The parent-death signal comes when the thread that forked ends: so it is held.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // However it ends, it has.
		}
		close(done)
	}()
	if err := <-started; err != nil {
		s.t.Fatalf("start %s: %v", cmd, err)
	}
	s.pid = cmd.Process.Pid
	pid := s.pid
	s.t.Cleanup(func() {
		select {
		case <-done:
			return
		default:
		}
		_ = syscall.Kill(-pid, syscall.SIGQUIT) // To the group; it is gone if it fails.
		select {
		case <-done:
		case <-time.After(patience):
			s.t.Errorf("%s does not stop", cmd)
		}
	})
}

// Stop ends the server with a signal: SIGINT in good order, SIGQUIT at once, SIGKILL as a crash of the machine would. It
// waits until it has ended.
func (s *Server) Stop(signal syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(s.pid, signal); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatal("PostgreSQL does not stop")
	}
}

// Exec executes one statement on a connection of its own.
func (s *Server) Exec(sql string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	if closeErr := conn.Close(ctx); err == nil {
		err = closeErr
	}
	return err
}

// Standby makes a standby of the server and has commits wait until it has them. The server is stopped for the copy.
func (s *Server) Standby() *Server {
	s.t.Helper()
	standby := &Server{t: s.t, config: s.config, bin: s.bin, dir: serverDirectory(s.t), port: freePort(s.t)}
	s.Stop(syscall.SIGINT)
	s.run(s.command("cp", "-a", s.data(), standby.data()))
	s.Start()
	standby.run(standby.command("touch", filepath.Join(standby.data(), "standby.signal")))
	standby.config.Settings = append([]string{fmt.Sprintf("primary_conninfo=host=127.0.0.1 port=%d user=reconciler application_name=standby", s.port)}, s.config.Settings...)
	standby.Start()
	for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()"} {
		if err := s.Exec(sql); err != nil {
			s.t.Fatal(err)
		}
	}
	Until(s.t, "the standby to be synchronous", func() bool {
		return s.Exec("SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == nil
	}, func() string { return "it is not" })
	return standby
}

// Promote makes a standby the primary.
func (s *Server) Promote() {
	s.t.Helper()
	if err := s.Exec("SELECT pg_promote()"); err != nil {
		s.t.Fatal(err)
	}
}

// onOwnDisk runs the server in namespaces where its data lie on a small disk in memory: any user may make such.
func (s *Server) onOwnDisk() *exec.Cmd {
	const script = `size=$1 data=$2 initdb=$3; shift 3
mkdir -p "$data"
mount -t tmpfs -o size="$size"m,mode=0700 none "$data"
eval "$initdb"
trap 'kill -QUIT $child; wait $child; exit' QUIT
while :; do "$@" & child=$!; wait $child || :; sleep 0.1; done`
	initdb := "'" + strings.Join(append([]string{filepath.Join(s.bin, "initdb")}, s.initdb()...), "' '") + "'"
	args := []string{"--user", "--mount", "--map-current-user", "--keep-caps", "sh", "-ec", script, "sh",
		strconv.Itoa(s.config.DiskMiB), s.data(), initdb, filepath.Join(s.bin, "postgres")}
	return s.command("unshare", append(args, s.arguments()...)...)
}

// FillDisk writes to the server's own disk until it is full, and returns what frees it again.
func (s *Server) FillDisk() (free func()) {
	s.t.Helper()
	path := fmt.Sprintf("/proc/%d/root%s/filler", s.pid, s.data())
	// As the server's user: nobody else exists there.
	out, err := s.command("dd", "if=/dev/zero", "of="+path, "bs=64k").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "No space left") {
		s.t.Fatalf("fill the disk: %v\n%s", err, out)
	}
	return func() {
		s.t.Helper()
		s.run(s.command("rm", path))
	}
}
