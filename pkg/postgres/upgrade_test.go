package postgres_test

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// data is what an installation of each version has written, by the migration after which it could: something in each table and
// each column that the migration made, so that all later ones pass over it. "" is a migration that makes none.
var data = map[string]string{
	"00001": `INSERT INTO jobs (run_at, due_at, state, priority, max_attempts, kind, key) VALUES (now(), now(), 1, 2, 8, 'run', 'a');
INSERT INTO jobs (run_at, due_at, lease_until, token, cancel_at, state, priority, attempt, max_attempts, generation, kind, key, dedupe, worker, note, retry_of, started_at, failures, args)
VALUES (now(), now(), now(), 7, now(), 2, 4, 1, 8, 3, 'branch', 'c', 'd', 'w', 'asked to stop', 5, now(), '[{"attempt": 1}]', '{"run": 1}');
INSERT INTO job_history (id, finished_at, created_at, run_at, generation, state, priority, attempt, max_attempts, kind, key, failures, args)
VALUES (900, now(), now(), now(), 1, 3, 2, 1, 8, 'run', 'a', '[]', '{}'), (901, now() - interval '40 days', now(), now(), 1, 4, 2, 1, 8, 'run', 'b', '[]', '{}');
INSERT INTO job_history (id, finished_at, created_at, started_at, run_at, token, generation, retry_of, state, priority, attempt, max_attempts, kind, key, dedupe, worker, note, failures, args)
VALUES (902, now(), now(), now(), now(), 6, 1, 901, 6, 2, 1, 8, 'run', 'b', 'd', 'w', 'cancelled', '[{"attempt": 1}]', '{"run": 1}')`,
	"00010": `INSERT INTO repositories (name, url, forge, branches, paths, poll_seconds, origin) VALUES ('a/b', 'http://x', 'f', '{"main": ["production"]}', '{apps}', 60, 'api');
INSERT INTO repositories (name, url, branches, paths, poll_seconds, origin, removed_at, polled_at, fault, failing_since)
VALUES ('a/c', 'http://y', '{}', '{}', 60, 'configuration', now(), now(), '{"code": "ORC-3101"}', now());
INSERT INTO refs (repository, name, commit, generation) VALUES ('a/b', 'main', 'c', 4);
INSERT INTO pulls (repository, number, state, title, author, head_ref, head_commit, base_ref, fork) VALUES ('a/b', 7, 'open', 't', 'dana', 'change', 'h', 'main', false)`,
	"00011": `INSERT INTO platform_revisions (digest, source, files, valid) VALUES ('d', 's', '{}', true);
INSERT INTO platform_revisions (digest, source, faults, valid) VALUES ('e', 's', '[{"code": "ORC-2001"}]', false)`,
	"00012": `INSERT INTO applications (environment, name, repository, path, generation, applied) VALUES ('production', 'shop', 'a/b', 'score.yaml', 2, 1);
INSERT INTO applications (environment, name, repository, path, generation, applied, faults, waiting, waiting_for, hold_reason, hold_by, hold_digest, hold_since, removed_at)
VALUES ('production', 'till', 'a/b', 'till.yaml', 3, 3, '[{"code": "ORC-1001"}]', 'p', '{"code": "ORC-5203"}', 'failed', 'reconciler', 'd1', now(), now());
INSERT INTO releases (application, generation, digest, content, plan, commit, cause) VALUES (1, 1, 'd1', '{}', 'p', 'c', 'commit'), (1, 2, 'd2', '{}', 'p', 'c', 'commit');
INSERT INTO releases (application, generation, digest, content, hidden, plan, commit, cause, of) VALUES (2, 3, 'd1', '{}', '\x01', 'p', 'c', 'rollback', 1);
INSERT INTO plans (id, repository, environment, application, content, commit, pull, confirmed_by, confirmed_at) VALUES ('p', 'a/b', 'production', 'shop', '{}', 'c', 7, 'dana', now())`,
	"00013": `INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit) VALUES (1, 'production', 'shop', 'a/b', 1, 'deploy', 'succeeded', 'p', 'c'), (1, 'production', 'shop', 'a/b', 2, 'deploy', 'running', 'p', 'c');
INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit, attempt, token, writes, fault, started_at, finished_at)
VALUES (2, 'production', 'till', 'a/b', 3, 'rollback', 'failed', 'p', 'c', 2, 6, 4, '{"code": "ORC-4001"}', now(), now());
INSERT INTO steps (run, position, name, state) VALUES (1, 0, 'deliver', 'succeeded'), (2, 0, 'deliver', 'running');
INSERT INTO steps (run, position, name, needs, state, attempt, detail, checkpoint, fault, started_at, finished_at) VALUES (3, 1, 'deliver', '{db}', 'failed', 2, 'pushed', '{}', '{"code": "ORC-4001"}', now(), now());
INSERT INTO run_logs (run, step, message) VALUES (1, 'deliver', 'done');
INSERT INTO resources (environment, uid, type, class, provisioner, stateful, params, outputs, state, users, token, deleted_at) VALUES ('production', 'r', 'postgres', 'default', 't', true, '{}', '{}', '\x02', '{shop}', 1, now());
INSERT INTO shared_states (environment, state) VALUES ('production', '\x03');
INSERT INTO inventories (environment, key, application, unit, path, digest, token) VALUES ('production', '/Service//a', 1, 'application', 'p', 'd', 1), ('production', '/Service//a', 2, 'application', 'p', 'd', 2),
  ('production', '/Secret//s', 1, 'shared', 'q', 'd', 1), ('production', '/Secret//s', 2, 'shared', 'q', 'd', 2)`,
	"00014": `INSERT INTO reports (repository, kind, target, context, state, body, url, fault, sent_at) VALUES ('a/b', 'status', 'c', 'x', 'success', 'y', 'z', '{"code": "ORC-3201"}', now())`,
	"00015": `INSERT INTO deliveries (forge, delivery, event) VALUES ('f', '1', 'push')`,
	"00016": `INSERT INTO tokens (name, hash, scopes, expires_at, used_at, revoked_at) VALUES ('ci', '\x04', '{read}', now(), now(), now());
INSERT INTO sessions (hash, token, once, expires_at) VALUES ('\x05', 1, true, now())`,
	"00017": `INSERT INTO evaluations (repository, commit, environment, ref, generation, outcome) VALUES ('a/b', 'c', 'production', 'main', 1, '[{"application": "shop", "run": 2}]'),
  ('a/b', 'w', 'production', 'main', 2, '[{"application": "shop", "waiting": {"code": "ORC-5203"}}]')`,
	"00018": `UPDATE applications SET asked = 'd2';
UPDATE resources SET record = '\x06';
INSERT INTO installation (mark) VALUES ('m')`,
	"00020": `INSERT INTO schedules (kind, next_at) VALUES ('prune', now())`,
	"00021": `INSERT INTO pauses (kind, by, reason) VALUES ('run', 'dana', 'the target is moved')`,
	"00022": `UPDATE jobs SET lease_us = 15000000, put_at = now() WHERE state = 2`,
	"00030": `UPDATE runs SET paths = '{"name": "careful", "texts": {"careful": "steps: []"}}', waits = 'approvals: 1 more', paused_by = 'dana', paused_at = now() WHERE id = 2;
INSERT INTO steps (run, position, name, state, parent, id, item, outputs, until, asked_at, failures, logged, undone_at, undo_fault)
VALUES (2, 1, 'seats/site[0]', 'parked', 'seats', 'site', '\x07', '\x08', now(), now(), '[{"attempt": 1, "code": "ORC-4301"}]', 40, now(), '{"code": "ORC-4302"}');
INSERT INTO approvals (run, step, who, approved, reason) VALUES (2, 'ask', 'dana', true, 'seen');
INSERT INTO artefacts (run, step, name, media_type, content) VALUES (2, 'seats/site[0]', 'do', 'application/json', '\x09')`,
	"00031": `UPDATE runs SET atomic = 'suite' WHERE id IN (1, 2)`,
	"00032": `UPDATE evaluations SET runs = '{1, 2}', outcome = '[{"run": 1}, {"run": 2}]' WHERE commit = 'c'`,
	"00033": ``,
	"00034": `UPDATE evaluations SET waits = true WHERE commit = 'w'`,
	"00035": ``,
	"00036": `UPDATE runs SET together = nextval('together'), kept = '{"code": "ORC-4303"}' WHERE id IN (1, 2)`,
	"00037": `UPDATE runs SET withdrawn = true WHERE id = 1`,
	"00038": ``,
	"00039": `INSERT INTO strays (environment, key, application, unit, path, digest) VALUES ('production', '/Service//a', 2, 'application', 'new/p', 'd')`,
	"00040": ``,
	"00041": `UPDATE steps SET parked_at = now() WHERE run = 2`,
}

// taken is what migrations take away, by their number: columns as TABLE.COLUMN, or rows as TABLE KEY, whose key is a part of the
// row as JSON. All else must be there after each migration as it was before.
var taken = map[string][]string{
	"00018": {`inventories "key": "/Service//a", "path": "p", "token": 1,`, "steps.checkpoint"},
}

// Every version's data survives every later migration, in every table and column.
func TestEachMigrationKeepsTheDataOfTheVersionsBefore(t *testing.T) {
	t.Parallel()
	url, pool := emptyDatabase(t)
	all, err := fs.Sub(postgres.MigrationFiles, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(all, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	files, before, wrote := fstest.MapFS{}, tables{}, []string{}
	for _, name := range names {
		text, err := fs.ReadFile(all, name)
		if err != nil {
			t.Fatal(err)
		}
		files[path.Base(name)] = &fstest.MapFile{Data: text}
		if _, _, err := postgres.MigrateWith(t.Context(), url, files); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		number, _, _ := strings.Cut(path.Base(name), "_")
		before.survive(t, readTables(t, pool), number)
		if _, err := pool.Exec(t.Context(), data[number]); err != nil {
			t.Fatalf("data after %s: %v", name, err)
		}
		wrote = append(wrote, number)
		before = readTables(t, pool)
		before.filled(t, number)
	}
	if diff := cmp.Diff(wrote, slices.Sorted(maps.Keys(data))); diff != "" {
		t.Errorf("migrations (-) and what is written after them (+): %s", diff)
	}
}

// What an older version has written says to the newer one what it is to say.
func TestMigrationsDeriveWhatTheyAddFromWhatIsThere(t *testing.T) {
	t.Parallel()
	url, pool := emptyDatabase(t)
	migrate := func(most string) {
		t.Helper()
		files := fstest.MapFS{}
		all, err := fs.Glob(postgres.MigrationFiles, "migrations/*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range all {
			if text, err := fs.ReadFile(postgres.MigrationFiles, name); path.Base(name) < most || most == "" {
				files[path.Base(name)] = &fstest.MapFile{Data: text}
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := postgres.MigrateWith(t.Context(), url, files); err != nil {
			t.Fatal(err)
		}
	}
	migrate("00018")
	for _, number := range slices.Sorted(maps.Keys(data)) {
		if number < "00018" {
			if _, err := pool.Exec(t.Context(), data[number]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := pool.Exec(t.Context(), `INSERT INTO evaluations (repository, commit, environment, ref, generation, outcome) VALUES ('a/b', 'n', 'production', 'main', 3, '[{"run": 3, "faults": [{"excerpt": "\u0000"}]}]')`); err != nil {
		t.Fatal(err)
	}
	migrate("")
	var told string
	err := pool.QueryRow(t.Context(), `SELECT concat_ws(' ', (SELECT runs::text FROM evaluations WHERE commit = 'c'), (SELECT runs::text FROM evaluations WHERE commit = 'w'), (SELECT runs::text FROM evaluations WHERE commit = 'n'),
  (SELECT string_agg(waits::text, ',' ORDER BY commit) FROM evaluations), (SELECT string_agg(DISTINCT together || ' ' || atomic || (paths IS NULL), ',') FROM runs),
  (SELECT count(*) FROM jobs WHERE owner = '' AND NOT hastened AND lease_us IS NULL), (SELECT string_agg(application::text, ',' ORDER BY application) FROM inventories WHERE unit = 'application'))`).Scan(&told)
	if diff := cmp.Diff("{2} {} {3} false,false,true 0 true 2 2", told); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// A process of the version before goes on beside the newer one: what its statements do not write is there all the same.
func TestWhatOlderProcessesWriteIsComplete(t *testing.T) {
	t.Parallel()
	url, pool := emptyDatabase(t)
	if _, _, err := postgres.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	const store = `INSERT INTO evaluations AS e (repository, commit, environment, ref, generation, outcome, blocked) VALUES ('a/b', 'c', 'production', 'main', 1, $1, false)
ON CONFLICT (repository, ref, environment, commit) DO UPDATE SET generation = 1, outcome = $1, blocked = false`
	for _, c := range []struct{ outcome, want string }{
		{`[{"application": "shop", "run": 2}, {"application": "till", "run": 3}]`, "{2,3} false"},
		{`[{"application": "shop", "waiting": {"code": "ORC-5203"}}]`, "{} true"},
		{`[{"application": "shop", "run": 2, "faults": [{"excerpt": "a NUL \u0000, and what looks like one \\u0000"}]}]`, "{2} false"},
		{`[]`, "{} false"},
		{`null`, "{} false"},
	} {
		if _, err := pool.Exec(t.Context(), store, c.outcome); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := pool.QueryRow(t.Context(), `SELECT runs::text || ' ' || waits FROM evaluations`).Scan(&got); err != nil || got != c.want {
			t.Errorf("%s: %s, want %s: %v", c.outcome, got, c.want, err)
		}
	}
}

// tables are the rows of all tables, as JSON by column.
type tables map[string][]map[string]string

func readTables(t *testing.T, pool *pgxpool.Pool) tables {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	out := tables{}
	for _, name := range names {
		rows, err := pool.Query(t.Context(), fmt.Sprintf("SELECT (SELECT json_object_agg(key, value::text) FROM jsonb_each(to_jsonb(t))) FROM %s t", pgx.Identifier{name}.Sanitize()))
		if err != nil {
			t.Fatal(err)
		}
		if out[name], err = pgx.CollectRows(rows, pgx.RowTo[map[string]string]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// survive says what is not there any more after a migration, and was not to be taken away.
func (before tables) survive(t *testing.T, after tables, number string) {
	t.Helper()
	var lost []string
	for table, rows := range before {
		var left []string
		for _, row := range after[table] {
			left = append(left, text(row, rows[0]))
		}
		for column := range rows[0] {
			if len(after[table]) > 0 && !slices.Contains(slices.Collect(maps.Keys(after[table][0])), column) {
				lost = append(lost, table+"."+column)
			}
		}
		for _, row := range rows {
			had := row
			if len(after[table]) > 0 {
				had = shared(row, after[table][0])
			}
			if i := slices.Index(left, text(had, had)); i >= 0 {
				left = slices.Delete(left, i, i+1)
			} else {
				lost = append(lost, table+" "+text(row, row))
			}
		}
	}
	slices.Sort(lost)
	want := slices.Sorted(slices.Values(taken[number]))
	same := slices.EqualFunc(lost, want, func(lost, want string) bool {
		table, part, isRow := strings.Cut(want, " ")
		return lost == want || isRow && strings.HasPrefix(lost, table+" ") && strings.Contains(lost, part)
	})
	if !same {
		t.Errorf("%s takes away %q, want %q", number, lost, want)
	}
}

// filled says in which tables and columns nothing is, so that later migrations would prove nothing.
func (now tables) filled(t *testing.T, number string) {
	t.Helper()
	for table, rows := range now {
		if len(rows) == 0 {
			t.Fatalf("after %s, nothing is in %s", number, table)
		}
		for column := range rows[0] {
			if !slices.ContainsFunc(rows, func(row map[string]string) bool { return row[column] != "null" }) {
				t.Errorf("after %s, nothing is in %s.%s", number, table, column)
			}
		}
	}
}

// shared returns the columns of a row that another one has as well.
func shared(row, other map[string]string) map[string]string {
	row = maps.Clone(row)
	maps.DeleteFunc(row, func(column, _ string) bool { _, there := other[column]; return !there })
	return row
}

// text is a row's columns that another one has as well, in the order of their names.
func text(row, other map[string]string) string {
	var parts []string
	for column, value := range shared(row, other) {
		parts = append(parts, fmt.Sprintf("%q: %s", column, value))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// A process of the version before has one of two tables that a migration locks, and wants the other one.
func TestAMigrationThatMeetsADeadlockIsBegunAgain(t *testing.T) {
	t.Parallel()
	url, pool := emptyDatabase(t)
	files := fstest.MapFS{"00001_tables.sql": {Data: []byte("-- +goose Up\nCREATE TABLE a (); CREATE TABLE b ();")}}
	migrate := func() error {
		_, _, err := postgres.MigrateWith(t.Context(), url, files)
		return err
	}
	if err := migrate(); err != nil {
		t.Fatal(err)
	}
	// The one that waits for less time notices, and is given up.
	files["00002_both.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nSET LOCAL deadlock_timeout = '5s'; LOCK a; LOCK b;")}
	other, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Error(err)
		}
	}
	exec("SET LOCAL deadlock_timeout = '5min'")
	exec("LOCK b")
	done := make(chan error, 1)
	go func() { done <- migrate() }()
	testenv.Until(t, "the migration to wait", func() (waits bool) {
		err := pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'b'::regclass AND NOT granted)").Scan(&waits)
		return err == nil && waits
	}, func() string { return "" })
	exec("LOCK a")
	if err := other.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
