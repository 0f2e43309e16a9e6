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

	"github.com/innominatus/reconciler/pkg/postgres"
)

// data is what an installation of each version has written, by the migration after which it could.
var data = map[string]string{
	"00001": `INSERT INTO jobs (run_at, due_at, state, priority, max_attempts, kind, key) VALUES (now(), now(), 1, 2, 8, 'run', 'a');
INSERT INTO job_history (id, finished_at, created_at, run_at, generation, state, priority, attempt, max_attempts, kind, key, failures, args)
VALUES (900, now(), now(), now(), 1, 3, 2, 1, 8, 'run', 'a', '[]', '{}'), (901, now() - interval '40 days', now(), now(), 1, 4, 2, 1, 8, 'run', 'b', '[]', '{}')`,
	"00010": `INSERT INTO repositories (name, url, forge, branches, paths, poll_seconds, origin) VALUES ('a/b', 'http://x', 'f', '{}', '{}', 60, 'api')`,
	"00011": `INSERT INTO platform_revisions (digest, source, files, valid) VALUES ('d', 's', '{}', true)`,
	"00012": `INSERT INTO applications (environment, name, repository, path, generation, applied) VALUES ('production', 'shop', 'a/b', 'score.yaml', 2, 1);
INSERT INTO releases (application, generation, digest, content, plan, commit, cause) VALUES (1, 1, 'd1', '{}', 'p', 'c', 'commit'), (1, 2, 'd2', '{}', 'p', 'c', 'commit');
INSERT INTO plans (id, repository, environment, application, content, commit) VALUES ('p', 'a/b', 'production', 'shop', '{}', 'c')`,
	"00013": `INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit) VALUES (1, 'production', 'shop', 'a/b', 1, 'deploy', 'succeeded', 'p', 'c'), (1, 'production', 'shop', 'a/b', 2, 'deploy', 'running', 'p', 'c');
INSERT INTO steps (run, position, name, state) VALUES (1, 0, 'deliver', 'succeeded'), (2, 0, 'deliver', 'running');
INSERT INTO run_logs (run, step, message) VALUES (1, 'deliver', 'done');
INSERT INTO resources (environment, uid, type, class, provisioner, stateful, users, token) VALUES ('production', 'r', 'postgres', 'default', 't', true, '{shop}', 1);
INSERT INTO inventories (environment, key, application, unit, path, digest, token) VALUES ('production', '/Service//a', 1, 'application', 'p', 'd', 1)`,
	"00014": `INSERT INTO reports (repository, kind, target, context, state, body, url) VALUES ('a/b', 'status', 'c', 'x', 'success', 'y', 'z')`,
	"00015": `INSERT INTO deliveries (forge, delivery, event) VALUES ('f', '1', 'push')`,
	"00017": `INSERT INTO evaluations (repository, commit, environment, ref, generation, outcome) VALUES ('a/b', 'c', 'production', 'main', 1, '[{"application": "shop", "run": 2}]')`,
}

// Every version's data survives every later migration.
func TestEachMigrationKeepsTheDataOfTheVersionsBefore(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	all, err := fs.Sub(postgres.MigrationFiles, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(all, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	files, wrote := fstest.MapFS{}, 0
	before := map[string]int64{}
	for _, name := range names {
		text, err := fs.ReadFile(all, name)
		if err != nil {
			t.Fatal(err)
		}
		files[path.Base(name)] = &fstest.MapFile{Data: text}
		if _, _, err := postgres.MigrateWith(t.Context(), url, files); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		after := counts(t, pool)
		for table, n := range before {
			if after[table] < n {
				t.Errorf("%s: %s had %d rows, and has %d", name, table, n, after[table])
			}
		}
		number, _, _ := strings.Cut(path.Base(name), "_")
		if sql := data[number]; sql != "" {
			if _, err := pool.Exec(t.Context(), sql); err != nil {
				t.Fatalf("data after %s: %v", name, err)
			}
			wrote++
		}
		before = counts(t, pool)
	}
	if wrote != len(data) {
		t.Errorf("%d of %d versions have written something: %v", wrote, len(data), slices.Sorted(maps.Keys(data)))
	}
	var told string
	err = pool.QueryRow(t.Context(), `SELECT concat_ws(' ', (SELECT runs::text FROM evaluations), (SELECT state FROM runs WHERE id = 2), (SELECT state FROM steps WHERE run = 2),
		(SELECT count(*) FROM job_history), (SELECT owner = '' FROM jobs))`).Scan(&told)
	if diff := cmp.Diff("{2} running running 2 t", told); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// counts returns how many rows each table has.
func counts(t *testing.T, pool *pgxpool.Pool) map[string]int64 {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, table := range tables {
		var n int64
		if err := pool.QueryRow(t.Context(), fmt.Sprintf("SELECT count(*) FROM %s", pgx.Identifier{table}.Sanitize())).Scan(&n); err != nil {
			t.Fatal(err)
		}
		out[table] = n
	}
	return out
}
