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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/child"
)

const (
	// pairStart bounds the start of one node on a busy machine, recovery after a crash included.
	pairStart = time.Minute
	// pairRole is the only role of a pair, and its database.
	pairRole = "reconciler"
)

// Pair is a PostgreSQL primary with a synchronous standby, for tests of what happens when servers die: no commit that was
// acknowledged is lost by a failover. The nodes keep their addresses while they change roles.
type Pair struct {
	dir, bin string
	account  *syscall.Credential
	preload  string
	nodes    [2]*pairNode

	mu      sync.Mutex
	primary int
}

// pairNode is one of the two places where a server runs.
type pairNode struct {
	dir  string
	port int
	cmd  *exec.Cmd
	done chan struct{}
}

// NewPair starts a primary and its standby with an empty database; both end with the test.
func NewPair(t testing.TB) *Pair {
	t.Helper()
	dir, err := os.MkdirTemp("", "reconciler-pair-")
	must(t, err)
	p := &Pair{dir: dir}
	t.Cleanup(func() { must(t, p.close()) })
	must(t, os.Chmod(dir, 0o755)) // as root, the servers run as another user, who must pass
	p.bin, err = postgresPrograms()
	must(t, err)
	must(t, p.chooseAccount())
	p.preload = Tool(t, "usr/lib/*/faketime/libfaketime.so.1")
	must(t, p.StepClock(0))
	for i := range p.nodes {
		p.nodes[i] = &pairNode{dir: filepath.Join(dir, strconv.Itoa(i)), port: freePort(t)}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*pairStart)
	defer cancel()
	must(t, p.program(ctx, "initdb", "-D", p.nodes[0].dir, "-U", pairRole, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"))
	must(t, p.startNode(ctx, 0))
	must(t, p.exec(ctx, "postgres", "CREATE DATABASE "+pairRole))
	must(t, p.Rejoin(ctx))
	return p
}

// Address returns where a node listens, HOST:PORT.
func (p *Pair) Address(node int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.nodes[node].port))
}

// Primary returns which node takes writes.
func (p *Pair) Primary() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.primary
}

// URL returns the URL of the database for clients that reach the nodes at these addresses and want the primary.
func (p *Pair) URL(addresses ...string) string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable&target_session_attrs=read-write", pairRole, strings.Join(addresses, ","), pairRole)
}

// StepClock sets both servers' clocks off by a time; they notice within a second.
func (p *Pair) StepClock(by time.Duration) error {
	return os.WriteFile(filepath.Join(p.dir, "clock"), []byte(fmt.Sprintf("%+d\n", int(by.Seconds()))), 0o644)
}

// Restart stops the primary by a signal (SIGINT: fast, SIGQUIT: at once, as after a crash) and starts it again.
func (p *Pair) Restart(ctx context.Context, signal syscall.Signal) error {
	n := p.Primary()
	if err := p.nodes[n].end(signal); err != nil {
		return err
	}
	return p.startNode(ctx, n)
}

// Failover kills the primary with all its processes and promotes the standby. The new primary has no standby until
// [Pair.Rejoin].
func (p *Pair) Failover(ctx context.Context) error {
	old := p.Primary()
	if err := p.nodes[old].kill(); err != nil {
		return err
	}
	p.mu.Lock()
	p.primary = 1 - old
	p.mu.Unlock()
	if err := p.exec(ctx, "postgres", "SELECT pg_promote()"); err != nil {
		return err
	}
	// Nobody is there to wait for.
	return p.synchronous(ctx, "")
}

// Rejoin makes a new standby in the place of the node that is not the primary.
func (p *Pair) Rejoin(ctx context.Context) error {
	n := 1 - p.Primary()
	if err := os.RemoveAll(p.nodes[n].dir); err != nil {
		return err
	}
	from := fmt.Sprintf("host=127.0.0.1 port=%d user=%s", p.nodes[p.Primary()].port, pairRole)
	if err := p.program(ctx, "pg_basebackup", "-D", p.nodes[n].dir, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync", "-d", from); err != nil {
		return err
	}
	if err := p.startNode(ctx, n); err != nil {
		return err
	}
	return p.synchronous(ctx, "*")
}

// synchronous says for whom the primary's commits wait.
func (p *Pair) synchronous(ctx context.Context, names string) error {
	return errors.Join(
		p.exec(ctx, "postgres", "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'"),
		p.exec(ctx, "postgres", "SELECT pg_reload_conf()"))
}

func (p *Pair) exec(ctx context.Context, database, sql string) error {
	c, err := pgx.Connect(ctx, fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", pairRole, p.Address(p.Primary()), database))
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, sql)
	return errors.Join(err, c.Close(ctx))
}

// program runs one of PostgreSQL's programs to its end.
func (p *Pair) program(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	p.dress(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// dress gives a command the account and an environment that holds nothing of ours.
func (p *Pair) dress(cmd *exec.Cmd) {
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = child.Attributes(syscall.SIGKILL)
	cmd.SysProcAttr.Credential = p.account
}

// startNode starts a node's server and waits until it answers.
func (p *Pair) startNode(ctx context.Context, i int) error {
	n := p.nodes[i]
	log, err := os.OpenFile(filepath.Join(p.dir, fmt.Sprintf("log-%d", i)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	// fsync=off: what a killed server had written is in the kernel's hands, and the kernel does not die here.
	args := []string{"-D", n.dir, "-p", strconv.Itoa(n.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "jit=off", "-c", "wal_keep_size=256MB", "-c", "wal_retrieve_retry_interval=500ms", "-c", "max_connections=200"}
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), args...)
	p.dress(cmd)
	if p.preload != "" {
		cmd.Env = append(cmd.Env, "LD_PRELOAD="+p.preload, "FAKETIME_TIMESTAMP_FILE="+filepath.Join(p.dir, "clock"),
			"FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1")
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := n.start(cmd); err != nil {
		return err
	}
	return n.ready(ctx)
}

// start starts the server on a thread that lives as long: see launchGitea.
func (n *pairNode) start(cmd *exec.Cmd) error {
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is ended by a signal
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	n.cmd, n.done = cmd, done
	return nil
}

func (n *pairNode) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pairStart)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, fmt.Sprintf("postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", pairRole, n.port))
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-n.done:
			return fmt.Errorf("the server in %s ended: %w", n.dir, err)
		case <-ctx.Done():
			return fmt.Errorf("wait for the server in %s: %w", n.dir, err)
		}
	}
}

// end signals the server and waits until it has ended.
func (n *pairNode) end(signal syscall.Signal) error {
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-n.done:
		return nil
	case <-time.After(pairStart):
		return fmt.Errorf("the server in %s does not end", n.dir)
	}
}

// kill kills the server and its children, which would otherwise end what they are at.
func (n *pairNode) kill() error {
	if n.cmd == nil {
		return nil
	}
	for _, pid := range append([]int{n.cmd.Process.Pid}, childrenOf(n.cmd.Process.Pid)...) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	<-n.done
	return nil
}

// childrenOf returns the ids of a process's children.
func childrenOf(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // only a malformed pattern gives an error
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		// "12 (postgres: x) S 11 …": the name may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (p *Pair) close() error {
	var errs []error
	for _, n := range p.nodes {
		if n != nil {
			errs = append(errs, n.kill())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}

// chooseAccount lets the servers run as another user if we are root, because PostgreSQL refuses to run as root.
func (p *Pair) chooseAccount() error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue // not on this machine
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return err
		}
		p.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return os.Chown(p.dir, uid, gid)
	}
	return errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

// postgresPrograms returns the folder of PostgreSQL's programs.
func postgresPrograms() (string, error) {
	places, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // only a malformed pattern gives an error
	slices.Reverse(places)
	for _, dir := range append([]string{os.Getenv("PGBIN")}, places...) {
		if _, err := os.Stat(filepath.Join(dir, "pg_basebackup")); dir != "" && err == nil {
			return dir, nil
		}
	}
	return "", errors.New("found no pg_basebackup: run `make setup`")
}
