package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// childDirectory tells the re-executed test binary to run a server there until it is killed.
const childDirectory = "RECONCILER_TEST_EMBEDDED_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirectory); dir != "" {
		serveUntilKilled(dir)
	}
	testenv.Main(m)
}

func serveUntilKilled(dir string) {
	e, err := postgres.StartEmbedded(context.Background(), postgres.EmbeddedConfig{DataDir: dir, BinDir: os.Getenv("PGBIN"), StartTimeout: 30 * time.Second})
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(e.URL() + "\n")
	<-e.Done()
	os.Exit(0)
}

// directory makes a directory that the server's user may enter, also when we are root.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "embedded-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}

func embedded(t *testing.T, dir string) *postgres.Embedded {
	t.Helper()
	e, err := postgres.StartEmbedded(t.Context(), postgres.EmbeddedConfig{DataDir: dir, BinDir: os.Getenv("PGBIN"), StartTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, e) })
	return e
}

func stop(t *testing.T, e *postgres.Embedded) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func query[T any](t *testing.T, url, sql string) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return v
}

func wantCode(t *testing.T, err error, code fault.Code) *fault.Fault {
	t.Helper()
	f, ok := fault.As(err)
	if !ok || f.Code != code {
		t.Fatalf("got error %v, want a fault %s", err, code)
	}
	return f
}

func TestEmbeddedKeepsItsDataOverARestart(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	first := embedded(t, dir)
	conn, err := pgx.Connect(t.Context(), first.URL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 7 AS v"); err != nil {
		t.Fatal(err)
	}
	// The session stays open: Stop must not wait for it.
	stop(t, first)
	if err := conn.Close(t.Context()); err != nil {
		t.Log("the server has closed the session:", err)
	}
	second := embedded(t, dir)
	if got := query[int](t, second.URL(), "SELECT v FROM kept"); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
	if got := query[string](t, second.URL(), "SELECT datcollate FROM pg_database WHERE datname = current_database()"); got != "C.UTF-8" {
		t.Errorf("got collation %s, want C.UTF-8", got)
	}
}

func TestEmbeddedDiesWithItsParentAndStartsAgain(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDirectory+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		t.Fatalf("child said %q: %v", line, err)
	}
	conn, err := pgx.Connect(t.Context(), strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 7 AS v"); err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // "signal: killed"
	e := embedded(t, dir)
	if got := query[int](t, e.URL(), "SELECT v FROM kept"); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
	_ = conn.Close(t.Context()) // Its server is gone.
}

func TestEmbeddedStartsBesideAPidFileWhoseProcessIsSomebodyElse(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	e := embedded(t, dir)
	pidFile := filepath.Join(dir, "cluster", "postmaster.pid")
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, e)
	// Written back with the id of a living process of the server's user, as after the restart of a container.
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := query[int](t, embedded(t, dir).URL(), "SELECT 1"); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}

func TestEmbeddedRefusesASecondInstance(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	embedded(t, dir)
	_, err := postgres.StartEmbedded(t.Context(), postgres.EmbeddedConfig{DataDir: dir, BinDir: os.Getenv("PGBIN"), StartTimeout: 30 * time.Second})
	wantCode(t, err, fault.PostgresBusy)
}

// A server that is about to go is waited for.
func TestEmbeddedWaitsForTheOneBefore(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	before := embedded(t, dir)
	stopped := make(chan error, 1)
	go func() { stopped <- before.Stop(context.Background()) }()
	embedded(t, dir)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestEmbeddedLetsNobodyInWithoutThePassword(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	e := embedded(t, dir)
	cc, err := pgx.ParseConfig(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{cc.Host, "127.0.0.1"} {
		guess := cc.Copy()
		guess.Host, guess.Password = host, "guess"
		if conn, err := pgx.ConnectConfig(t.Context(), guess); err == nil {
			_ = conn.Close(t.Context())
			t.Errorf("%s lets in with a wrong password", host)
		}
		guess.Password = cc.Password
		conn, err := pgx.ConnectConfig(t.Context(), guess)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("-rw-------", info.Mode().String()); diff != "" {
		t.Error(diff)
	}
}

func TestEmbeddedWorksBelowALongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(directory(t), strings.Repeat("long", 25), "with a comma, and a \" in it")
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	if got := query[int](t, embedded(t, dir).URL(), "SELECT 1"); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}

func TestEmbeddedWorksBelowAPathWithSigns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(directory(t), "a b \"c\" %20")
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	e := embedded(t, dir)
	if got := query[bool](t, e.URL(), "SELECT inet_client_addr() IS NULL"); !got {
		t.Error("the connection does not go over the socket")
	}
}

func TestEmbeddedNamesADirectoryThatTheServerMayNotPass(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root runs the server as another user")
	}
	dir := directory(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := postgres.StartEmbedded(t.Context(), postgres.EmbeddedConfig{DataDir: filepath.Join(dir, "below")})
	f := wantCode(t, err, fault.PostgresDirectory)
	if !strings.Contains(f.Advice(), dir) {
		t.Errorf("the remedy %q does not name %s", f.Advice(), dir)
	}
}

func TestEmbeddedSaysHowToInstallAServer(t *testing.T) {
	t.Parallel()
	_, err := postgres.StartEmbedded(t.Context(), postgres.EmbeddedConfig{DataDir: directory(t), BinDir: t.TempDir()})
	f := wantCode(t, err, fault.PostgresMissing)
	if !strings.Contains(f.Advice(), "apt-get install postgresql") {
		t.Errorf("the remedy %q does not say how to install", f.Advice())
	}
}

func TestEmbeddedRefusesADirectoryWithOtherThings(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	if err := os.MkdirAll(filepath.Join(dir, "cluster"), 0o711); err != nil {
		t.Fatal(err)
	}
	_, err := postgres.StartEmbedded(t.Context(), postgres.EmbeddedConfig{DataDir: dir, BinDir: os.Getenv("PGBIN"), StartTimeout: 30 * time.Second})
	wantCode(t, err, fault.PostgresDirectory)
}

func TestEmbeddedTellsWhenTheServerEndsByItself(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	e := embedded(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, "cluster", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("Done is not closed")
	}
}
