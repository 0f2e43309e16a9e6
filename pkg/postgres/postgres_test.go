package postgres_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
)

func TestOpenSetsTheTimeLimits(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	for name, want := range map[string]string{
		"statement_timeout": "30s", "idle_in_transaction_session_timeout": "30s", "application_name": t.Name(),
	} {
		var got string
		if err := pool.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestOpenForPgBouncerPreparesNothing(t *testing.T) {
	t.Parallel()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: testenv.Postgres(t), PgBouncer: true, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	var prepared int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE $1", "%").Scan(&prepared); err != nil {
		t.Fatal(err)
	}
	if prepared != 0 {
		t.Errorf("%d statements are prepared", prepared)
	}
	var value, word string
	if err := pool.QueryRow(t.Context(), "SELECT $1::json ->> 'key', ($2::text[])[2]", map[string]string{"key": "x"}, []string{"a", "b"}).Scan(&value, &word); err != nil || value+word != "xb" {
		t.Errorf("JSON and lists arrive as %q and %q: %v", value, word, err)
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		url  string
		code fault.Code
	}{
		"nobody listens": {"postgres://u:secret@127.0.0.1:1/db", fault.DatabaseUnreachable},
		"no URL":         {"postgres://u:secret@127.0.0.1:port/db", fault.DatabaseURL},
		"no setting":     {"postgres://u:secret@127.0.0.1/db?sslmode=maybe", fault.DatabaseURL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), postgres.Config{URL: test.url})
			f := wantCode(t, err, test.code)
			if got := f.Text(); strings.Contains(got, "secret") {
				t.Errorf("the password is told: %s", got)
			}
		})
	}
}

// emptyDatabase makes a database without a schema on the tests' server.
func emptyDatabase(t *testing.T) (url string, pool *pgxpool.Pool) {
	t.Helper()
	pool = testenv.Pool(t)
	for _, sql := range []string{"DROP SCHEMA public CASCADE", "CREATE SCHEMA public"} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return pool.Config().ConnString(), pool
}

func TestMigrateIsSafeForSeveralAtOnce(t *testing.T) {
	t.Parallel()
	url, _ := emptyDatabase(t)
	type versions struct{ from, to int64 }
	got := make([]versions, 4)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			from, to, err := postgres.Migrate(t.Context(), url)
			if err != nil {
				t.Error(err)
			}
			got[i] = versions{from, to}
		})
	}
	all.Wait()
	from, to, err := postgres.Migrate(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if from != to || to < 1 {
		t.Errorf("a second migration went from %d to %d", from, to)
	}
	for _, v := range got {
		if v.to != to {
			t.Errorf("one of several got from %d to %d, want to %d", v.from, v.to, to)
		}
	}
}

func TestMigrateRefusesADatabaseOfANewerBinary(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	if _, err := pool.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)"); err != nil {
		t.Fatal(err)
	}
	// While it only has more, both versions may run.
	if from, to, err := postgres.Migrate(t.Context(), pool.Config().ConnString()); err != nil || from != 99999 || to != 99999 {
		t.Errorf("from %d to %d, %v", from, to, err)
	}
	if _, err := pool.Exec(t.Context(), "UPDATE schema_floor SET floor = 99999"); err != nil {
		t.Fatal(err)
	}
	_, _, err := postgres.Migrate(t.Context(), pool.Config().ConnString())
	wantCode(t, err, fault.DatabaseNewer)
}

func TestMigrateLeavesTheVersionBeforeAFailedStep(t *testing.T) {
	t.Parallel()
	url, pool := emptyDatabase(t)
	// Something of the same name is in the way of the first migration, after it has made other things.
	if _, err := pool.Exec(t.Context(), "CREATE TABLE job_history ()"); err != nil {
		t.Fatal(err)
	}
	_, _, err := postgres.Migrate(t.Context(), url)
	wantCode(t, err, fault.DatabaseMigration)
	var there bool
	if err := pool.QueryRow(t.Context(), "SELECT to_regclass('jobs') IS NOT NULL").Scan(&there); err != nil {
		t.Fatal(err)
	}
	if there {
		t.Error("half of the failed migration is there")
	}
}

func TestListenerTellsAndConnectsAgain(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cc := pool.Config().ConnConfig.Copy()
	cc.RuntimeParams["application_name"] = "the listener"
	listener := postgres.NewListener(cc, zerolog.Nop())
	got := make(chan postgres.Notification, 10)
	listener.Subscribe("News", func(n postgres.Notification) { got <- n })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- listener.Run(ctx) }()

	want := func(n postgres.Notification) {
		t.Helper()
		select {
		case have := <-got:
			if diff := cmp.Diff(n, have); diff != "" {
				t.Error(diff)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("did not get %v", n)
		}
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	connected, told := postgres.Notification{Channel: "News", Connected: true}, postgres.Notification{Channel: "News", Payload: "hello"}
	want(connected)
	exec("SELECT pg_notify('News', 'hello')")
	want(told)
	exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'the listener'")
	want(connected)
	exec("SELECT pg_notify('News', 'hello')")
	want(told)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
}

func TestMigrationsOnlyGoForward(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d migrations: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "+goose Down") {
			t.Errorf("%s has a way back", file)
		}
	}
}

func TestDatabaseKeepsItsFirstMark(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	for _, mark := range []string{"first", "second"} {
		if got, err := postgres.Mark(t.Context(), pool, mark); got != "first" || err != nil {
			t.Errorf("the mark is %q, %v", got, err)
		}
	}
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
