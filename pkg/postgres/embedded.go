package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// DefaultStartTimeout is long enough for recovery after a crash on a slow disk; an ordinary start takes a second.
	DefaultStartTimeout = 2 * time.Minute
	// lockWait is how long a killed process may take to give up the directory.
	lockWait = 5 * time.Second
	// oldServerWait is how long a server that a killed reconciler left behind may take to stop. Its last act is a
	// checkpoint.
	oldServerWait = 30 * time.Second
	// startPoll is the first pause between looks while something starts or stops; pauses grow up to startPollMax.
	startPoll    = 5 * time.Millisecond
	startPollMax = 200 * time.Millisecond
	// portAttempts is how often another free port is tried when somebody took the first one before the server did.
	portAttempts = 5
	// socketPathLimit is the longest path of a unix socket that Linux and macOS take, without the final zero.
	socketPathLimit = 103
	// invalidCatalogName is the SQLSTATE for "database does not exist".
	invalidCatalogName = "3D000"
)

// EmbeddedConfig says where and how the embedded server runs.
type EmbeddedConfig struct {
	// DataDir holds the server's data, socket and password; it is made if it is not there. As root, the server runs as
	// user postgres or nobody, so that everybody must be able to pass the directory's parents.
	DataDir string
	// BinDir is where initdb and postgres are; "" looks in the usual places and in PATH.
	BinDir string
	// Volatile makes commits not wait for the disk. After a crash of the machine the data may be unusable: for tests.
	Volatile bool
	// StartTimeout bounds the whole start; 0 means [DefaultStartTimeout].
	StartTimeout time.Duration
	// Log is given each line that the server writes, from another goroutine; nil drops them.
	Log func(line string)
}

// Embedded is a running PostgreSQL server, a child of this process. On Linux the kernel stops it when this process dies,
// however that happens.
type Embedded struct {
	cluster *cluster
	process *process
	url     string
}

// StartEmbedded starts a PostgreSQL server on the data directory, after making it if it is not there, and returns when
// the server answers and its database exists. ctx bounds the start only; [Embedded.Stop] ends the server.
//
// The server listens on a unix socket in a directory that only its own user may enter and on a free port of 127.0.0.1;
// both ask for a password made at random. Without the socket, if its path would be longer than a socket's path may be.
// A server that a killed process left behind is waited for.
//
// Errors are faults: [fault.PostgresMissing], [fault.PostgresDirectory], [fault.PostgresBusy], [fault.PostgresStart].
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (_ *Embedded, err error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(cfg.StartTimeout, DefaultStartTimeout))
	defer cancel()
	c, err := openCluster(ctx, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	major, err := c.major()
	if err != nil {
		return nil, err
	}
	programs, err := findBinaries(ctx, cfg.BinDir, major)
	if err != nil {
		return nil, err
	}
	if major == 0 {
		if err := c.create(ctx, programs, cfg.Volatile); err != nil {
			return nil, err
		}
	}
	if err := c.own(c.sockets()); err != nil {
		return nil, err
	}
	if err := c.waitUnused(ctx); err != nil {
		return nil, err
	}
	return c.run(ctx, programs, cfg)
}

// URL returns where clients connect, with the password: over the socket if its path is short enough, else over TCP.
func (e *Embedded) URL() string { return e.url }

// Done is closed when the server has ended, by [Embedded.Stop] or by itself.
func (e *Embedded) Done() <-chan struct{} { return e.process.done }

// Stop ends the server and waits for it: sessions are ended and data is written out. When ctx ends first the server is
// stopped at once, and recovers at the next start. Stopping twice does nothing.
func (e *Embedded) Stop(ctx context.Context) error {
	if e.process.ended() {
		return e.release()
	}
	if err := e.process.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the database server: %w", err)
	}
	select {
	case <-e.process.done:
	case <-ctx.Done():
		// Kill, and not the immediate shutdown, would leave shared memory behind.
		_ = e.process.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-e.process.done:
		case <-time.After(killWait):
			return errors.Join(ctx.Err(), e.process.kill(), e.release())
		}
	}
	return e.release()
}

func (e *Embedded) release() error {
	if err := e.cluster.close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("release the database directory: %w", err)
	}
	return nil
}

// waitUnused waits until no process of an earlier server works in the directory, and removes a pid file whose process id
// has meanwhile been given to something else: PostgreSQL would refuse to start because of it, for ever in a container,
// where ids are few and the same at each start.
func (c *cluster) waitUnused(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, oldServerWait)
	defer cancel()
	var pids []int
	err := poll(ctx, func() (bool, error) {
		pids = usersOf(c.data())
		return len(pids) == 0, nil
	})
	if err != nil {
		return fault.New(fault.PostgresBusy, "a database server that we did not start works in %s (process %d)", c.data(), pids[0])
	}
	text, err := os.ReadFile(c.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.New(fault.PostgresDirectory, "read the server's pid file: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err == nil && (!knowsUsers || !alive(pid)) {
		return nil // PostgreSQL itself knows what to do with it.
	}
	if err := os.Remove(c.pidFile()); err != nil {
		return fault.New(fault.PostgresDirectory, "remove the stale pid file: %w", err)
	}
	return nil
}

// run starts the server, on another port if somebody took the one that was free a moment ago.
func (c *cluster) run(ctx context.Context, programs binaries, cfg EmbeddedConfig) (*Embedded, error) {
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		tail := &lines{log: cfg.Log}
		cmd := c.user.command(programs.postgres, c.arguments(port, cfg.Volatile)...)
		cmd.Stdout, cmd.Stderr, cmd.Dir = tail, tail, c.data()
		p, err := start(cmd)
		if err != nil {
			return nil, fault.New(fault.PostgresStart, "run %s: %w", programs.postgres, err)
		}
		e := &Embedded{cluster: c, process: p, url: c.url(port, password)}
		err = e.ready(ctx)
		if err == nil {
			return e, nil
		}
		taken := p.ended() && !portFree(ctx, port)
		if !p.ended() {
			err = errors.Join(err, p.kill())
		}
		if !taken || attempt == portAttempts {
			return nil, fault.New(fault.PostgresStart, "start the database server in %s: %w: %s", c.dir, err, tail.last())
		}
	}
}

func (c *cluster) arguments(port int, volatile bool) []string {
	settings := []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(port), "unix_socket_directories=" + c.socketSetting(),
		// What an administrator may have put into the files must not send the log elsewhere.
		"logging_collector=off", "log_destination=stderr",
		// Queries here are short; compiling them costs more than it saves.
		"jit=off",
	}
	if volatile {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	args := []string{"-D", c.data()}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}

func (c *cluster) url(port int, password string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Path: "/" + superuser}
	if c.socketFits() {
		query := url.Values{"host": {c.sockets()}, "port": {strconv.Itoa(port)}}.Encode()
		// Here, as for libpq, a plus sign is a plus sign and not a space.
		u.RawQuery = strings.ReplaceAll(query, "+", "%20")
		return u.String()
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	// Whoever took the port instead of our server must not be told the password.
	u.RawQuery = url.Values{"sslmode": {"disable"}, "require_auth": {"scram-sha-256"}}.Encode()
	return u.String()
}

// socketFits says whether the path of the socket, with any port, is short enough, and can stand in a URL, where a comma
// separates hosts.
func (c *cluster) socketFits() bool {
	return !strings.Contains(c.sockets(), ",") && len(filepath.Join(c.sockets(), ".s.PGSQL.65535")) <= socketPathLimit
}

// socketSetting returns the setting unix_socket_directories, which is a list: empty, or one quoted path.
func (c *cluster) socketSetting() string {
	if !c.socketFits() {
		return ""
	}
	return `"` + strings.ReplaceAll(c.sockets(), `"`, `""`) + `"`
}

// ready waits until the server answers, and makes our database if it is not there.
func (e *Embedded) ready(ctx context.Context) error {
	var last error
	err := poll(ctx, func() (bool, error) {
		if e.process.ended() {
			return false, fmt.Errorf("it ended: %s", e.process.cmd.ProcessState)
		}
		conn, err := pgx.Connect(ctx, e.url)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == invalidCatalogName {
			return false, e.createDatabase(ctx)
		}
		if err != nil {
			last = err
			return false, nil // Starting, or recovering: the next look tells.
		}
		return true, conn.Close(ctx)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(err, last)
	}
	return err
}

func (e *Embedded) createDatabase(ctx context.Context) error {
	cc, err := pgx.ParseConfig(e.url)
	if err != nil {
		return fmt.Errorf("read our own URL: %w", err)
	}
	cc.Database = "postgres"
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return fmt.Errorf("connect to make the database: %w", err)
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+superuser)
	if err != nil {
		err = fmt.Errorf("make the database: %w", err)
	}
	return errors.Join(err, conn.Close(ctx))
}

// poll calls look, with growing pauses, until it says true or gives an error, or ctx ends.
func poll(ctx context.Context, look func() (bool, error)) error {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(startPoll), backoff.WithMaxInterval(startPollMax), backoff.WithMaxElapsedTime(0))
	for {
		done, err := look()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause.NextBackOff()):
		}
	}
}

func freePort(ctx context.Context) (int, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fault.New(fault.PostgresStart, "find a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

func portFree(ctx context.Context, port int) bool {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
