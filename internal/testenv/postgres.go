package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/innominatus/reconciler/pkg/postgres"
)

const (
	// PostgresVariable names the environment variable with the URL of a server to use instead of starting one. Its role
	// must be allowed to make databases.
	PostgresVariable = "RECONCILER_TEST_POSTGRES"
	// startTimeout bounds start, migration and stop of the server on a busy machine.
	startTimeout = 2 * time.Minute
	// databaseTimeout bounds making and dropping one database on a busy machine.
	databaseTimeout = time.Minute
	// templateLock is the advisory lock under which the template is made; the pair has no meaning.
	templateLock = "2026, 1"
	// sweepAge keeps sweep from a directory that another process is just making and has not locked yet.
	sweepAge = 10 * time.Minute
	// directoryPattern names the data directories, so that those of killed runs are found again.
	directoryPattern = "reconciler-testpg-*"
)

// server is the one server of this test binary. Go runs tests of one package in one process, and a server costs half a
// second: hence the one piece of state of the package.
var server struct {
	once     sync.Once
	err      error
	admin    *pgxpool.Pool
	embedded *postgres.Embedded
	dir      string
	template string
	count    atomic.Int64
}

// Main runs the tests of a package, stops what testenv has started, and fails when goroutines are left. Use it as
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
func Main(m *testing.M, options ...goleak.Option) { os.Exit(Run(m, options...)) }

// Run does what [Main] does and returns the exit code, for those who end the process themselves.
func Run(m *testing.M, options ...goleak.Option) int {
	code := m.Run()
	if err := errors.Join(stopPostgres(), stopGitea()); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, "testenv: goroutines are left:", err)
			code = 1
		}
	}
	return code
}

// Postgres returns the URL of a fresh database with the current schema, dropped when the test ends. The first call of a
// test binary starts a server, unless [PostgresVariable] names one.
func Postgres(t testing.TB) string {
	t.Helper()
	if err := ensurePostgres(t.Context()); err != nil {
		t.Fatalf("start PostgreSQL for tests: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), databaseTimeout)
	defer cancel()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), server.count.Add(1))
	if _, err := server.admin.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+server.template); err != nil {
		t.Fatalf("make a test database: %v", err)
	}
	t.Cleanup(func() {
		// The test's own context is over when clean-up runs.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), databaseTimeout)
		defer cancel()
		if _, err := server.admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	u, err := withDatabase(server.admin.Config().ConnString(), name)
	if err != nil {
		t.Fatalf("make the test database's URL: %v", err)
	}
	return u
}

// Pool returns a pool on a fresh database as [Postgres] makes it, closed when the test ends.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: Postgres(t), ApplicationName: t.Name()})
	if err != nil {
		t.Fatalf("open the test database: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// withDatabase returns the URL with another database name.
func withDatabase(address, name string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("read the server's URL: %w", err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

func ensurePostgres(ctx context.Context) error {
	server.once.Do(func() { server.err = startPostgres(ctx) })
	return server.err
}

func startPostgres(ctx context.Context) error {
	// The server outlives the test that needs it first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	address := os.Getenv(PostgresVariable)
	if address == "" {
		if err := startEmbedded(ctx); err != nil {
			return err
		}
		address = server.embedded.URL()
	}
	admin, err := postgres.Open(ctx, postgres.Config{URL: address, ApplicationName: "testenv", StatementTimeout: -1})
	if err != nil {
		return err
	}
	server.admin = admin
	return makeTemplate(ctx)
}

func startEmbedded(ctx context.Context) error {
	if err := sweep(directoryPattern); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", directoryPattern)
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	server.dir = dir
	// MkdirTemp makes directories for us alone; as root the server runs as another user, who must pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("open the directory: %w", err)
	}
	server.embedded, err = postgres.StartEmbedded(ctx, postgres.EmbeddedConfig{DataDir: dir, BinDir: os.Getenv("PGBIN"), Volatile: true})
	return err
}

// sweep removes the directories of test binaries that were killed: nobody holds their lock.
func sweep(pattern string) error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), pattern))
	if err != nil {
		return fmt.Errorf("look for old directories: %w", err)
	}
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		if err != nil {
			continue // Just being made, or another user's.
		}
		if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = os.RemoveAll(dir)
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("remove an old directory: %w", err)
		}
	}
	return nil
}

// makeTemplate sees to it that a migrated database named after the migrations' content is there. Several test binaries
// may share the server, hence the lock; the name is given at the end, so that a half-made template is never cloned.
func makeTemplate(ctx context.Context) (err error) {
	digest, err := postgres.MigrationsDigest()
	if err != nil {
		return err
	}
	server.template = "template_" + digest
	making := server.template + "_making"
	conn, err := server.admin.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect to make the template: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock("+templateLock+")"); err != nil {
		return fmt.Errorf("lock the template: %w", err)
	}
	defer func() {
		_, unlockErr := conn.Exec(ctx, "SELECT pg_advisory_unlock("+templateLock+")")
		err = errors.Join(err, unlockErr)
	}()
	var there bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", server.template).Scan(&there)
	if err != nil || there {
		return err
	}
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + making, "CREATE DATABASE " + making} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make the template: %w", err)
		}
	}
	address, err := withDatabase(server.admin.Config().ConnString(), making)
	if err != nil {
		return err
	}
	if _, _, err := postgres.Migrate(ctx, address); err != nil {
		return err
	}
	return rename(ctx, conn.Conn(), making, server.template)
}

func rename(ctx context.Context, conn *pgx.Conn, from, to string) error {
	if _, err := conn.Exec(ctx, "ALTER DATABASE "+from+" RENAME TO "+to); err != nil {
		return fmt.Errorf("name the template: %w", err)
	}
	return nil
}

func stopPostgres() error {
	if server.admin != nil {
		server.admin.Close()
	}
	if server.dir == "" {
		return nil
	}
	var err error
	if server.embedded != nil {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		err = server.embedded.Stop(ctx)
	}
	return errors.Join(err, os.RemoveAll(server.dir))
}
