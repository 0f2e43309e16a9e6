package queue

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
)

// bufferLimit is how many pages of 8 kB a statement may touch with 100,000 live jobs.
const bufferLimit = 300

// batchLimits are higher limits for statements that change several rows, each in up to five indexes.
var batchLimits = map[string]int{"sqlClaim": 600, "sqlClaimLimited": 600, "sqlBeat": 600, "sqlFinish": 600, "sqlPrune": 500 * 20}

var (
	claim16, _        = claimStatement(sqlClaim, 16)
	claimLimited16, _ = claimStatement(sqlClaimLimited, 16)
)

// none stands for the arguments of a statement that takes none and is looked at nevertheless.
const none = "-"

// statements are all statements of the package, with arguments for one execution on the tables that fill makes. Those
// without arguments read the whole live table by design: once a minute, off the way of a job.
var statements = map[string]struct{ sql, arguments string }{
	"sqlLock":          {sqlLock, "ARRAY['key1', 'key2']"},
	"sqlTryLock":       {sqlTryLock, "ARRAY['key1', 'key2']"},
	"sqlThere":         {sqlThere, "(SELECT min(id) FROM held), (SELECT min(token) FROM held)"},
	"sqlLockPatience":  {sqlLockPatience, "'50ms'"},
	"sqlSupersede":     {sqlSupersede, "'key40000', 'k', 5"},
	"sqlInsert":        {sqlInsert, "'key40000', 'k', 6, 'd', 2, '{}', 0, 8, NULL, 'shop/api'"},
	"sqlClaim":         {claim16, "'w', 15000000, ARRAY['k']"},
	"sqlClaimLock":     {sqlClaimLock, ""},
	"sqlClaimInOrder":  {sqlClaimInOrder, ""},
	"sqlClaimLimited":  {claimLimited16, "'w', 15000000, ARRAY['k'], 4, 8"},
	"sqlPause":         {sqlPause, "'k', 'me', 'why'"},
	"sqlResume":        {sqlResume, "'k'"},
	"sqlPauses":        {sqlPauses, ""},
	"sqlBeat":          {sqlBeat, "(SELECT array_agg(id) FROM held), (SELECT array_agg(token) FROM held), 15000000"},
	"sqlHold":          {sqlHold, "(SELECT min(id) FROM held), (SELECT min(token) FROM held)"},
	"sqlFinish":        {sqlFinish, "(SELECT array_agg(id) FROM held), (SELECT array_agg(token) FROM held), array_fill(3::smallint, ARRAY[16]), array_fill(''::text, ARRAY[16]), array_fill(NULL::text, ARRAY[16])"},
	"sqlLook":          {sqlLook, "(SELECT min(id) FROM held), (SELECT min(token) FROM held), '2026-01-01'"},
	"sqlBack":          {sqlBack, "(SELECT min(id) FROM held), (SELECT min(token) FROM held), 1000, 0, 'c', 'e', NULL"},
	"sqlHasten":        {sqlHasten, "'key40000', 'k'"},
	"sqlFire":          {sqlFire, "ARRAY['k', 'l'], ARRAY[1000, 1000]"},
	"sqlRunning":       {sqlRunning, "10000000"},
	"sqlNow":           {sqlNow, none},
	"sqlSetBack":       {sqlSetBack, ""},
	"sqlOrphans":       {sqlOrphans, "'w', ARRAY[1, 2]"},
	"sqlStranded":      {sqlStranded, ""},
	"sqlPromote":       {sqlPromote, "'key40000'"},
	"sqlPrune":         {sqlPrune, "1000000"},
	"sqlTell":          {sqlTell, ""},
	"sqlPartitions":    {sqlPartitions, ""},
	"sqlTable":         {sqlTable, ""},
	"sqlCancelWaiting": {sqlCancelWaiting, "(SELECT max(id) FROM jobs), 'n'"},
	"sqlCancelRunning": {sqlCancelRunning, "(SELECT min(id) FROM held), 'n'"},
	"sqlSignal":        {sqlSignal, "1"},
	"sqlStats":         {sqlStats, ""},
	"sqlGet":           {sqlGet, "5000"},
	"sqlList":          {sqlList, "'', NULL, 9223372036854775807, 50"},
	"sqlListKey":       {sqlListKey, "'', NULL, 9223372036854775807, 50, 'key40000'"},
	"sqlSince":         {sqlSince, "'key40000', 'k', 1, 1"},
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	constant := regexp.MustCompile("(?m)^\t(sql[A-Z]\\w*) = ")
	var declared []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range constant.FindAllStringSubmatch(string(text), -1) {
			declared = append(declared, m[1])
		}
	}
	pool := testenv.Pool(t)
	var prepared []string
	for name, s := range statements {
		prepared = append(prepared, name)
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Conn().Prepare(t.Context(), name, s.sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		conn.Release()
	}
	slices.Sort(declared)
	slices.Sort(prepared)
	if diff := cmp.Diff(declared, prepared); diff != "" {
		t.Errorf("statements that the test does not know: %s", diff)
	}
}

// fill makes 100,000 live jobs on 50,000 keys, half of them blocked, 10,000 of the ready ones waiting for a retry in the
// next minutes, 16 running and expired, and 100,000 finished ones, of three weeks in partitions and the rest in the default
// one. This week is full, whatever day it is: of a partition that is all but empty, a scan is right.
const fill = `
	INSERT INTO jobs (key, kind, generation, due_at, run_at, state, priority, max_attempts, owner)
		SELECT 'key' || n % 50000, 'k', n / 50000, at + interval '2 min', at, CASE WHEN n < 50000 THEN 1 ELSE 0 END, 2, 8,
			CASE WHEN n % 2 = 0 THEN 'big/one' ELSE 'small/' || n % 500 END
		FROM (SELECT n, now() + CASE WHEN n % 5 = 0 THEN n % 200 * interval '1 s' ELSE - (n % 1000) * interval '1 s' END AS at
			FROM generate_series(0, 99999) n) AS s;
	UPDATE jobs SET state = 2, token = nextval('job_token_seq'), worker = 'w', started_at = now(), attempt = 1,
		lease_until = now() - interval '1 s' WHERE id IN (SELECT id FROM jobs WHERE state = 1 AND run_at < now() LIMIT 16);
	INSERT INTO job_history (id, finished_at, created_at, run_at, generation, state, priority, attempt, max_attempts, kind, key, failures, args)
		SELECT n + 1000000, date_trunc('week', now(), 'UTC') + interval '1 week' - n * interval '30 s', now(), now(), 0, 3 + (n % 4), 2, 1, 8,
			'k', 'key' || n % 50000, '[]', '{}'
		FROM generate_series(1, 100000) n;
	CREATE TEMPORARY TABLE held AS SELECT id, token FROM jobs WHERE state = 2`

func TestNoStatementScansOrTouchesManyPages(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	q := New(pool, Config{})
	for weeks := range 3 {
		if err := q.makePartition(t.Context(), time.Now().Add(-time.Duration(weeks)*week)); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range append(strings.Split(fill, ";"), "VACUUM ANALYZE jobs", "VACUUM ANALYZE job_history") {
		exec(sql)
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		exec("SET plan_cache_mode = " + mode)
		for name, s := range statements {
			if s.arguments == "" {
				continue
			}
			buffers, scans := plan(t, conn.Conn(), s.sql, s.arguments)
			t.Logf("%s %s: %d buffers", mode, name, buffers)
			if len(scans) > 0 {
				t.Errorf("%s (%s) scans %v", name, mode, scans)
			}
			if limit := orDefault(batchLimits[name], bufferLimit); buffers > limit {
				t.Errorf("%s (%s) touches %d buffers, more than %d", name, mode, buffers, limit)
			}
		}
	}
}

// A table that has no statistics yet is the rule where the queue was empty a minute ago.
func TestAClaimSortsNothingAlsoWithoutStatistics(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	_, err := pool.Exec(t.Context(), `INSERT INTO jobs (key, kind, due_at, run_at, state, priority, max_attempts, owner)
SELECT 'key' || n % 1000, 'k', now(), now(), CASE WHEN n < 1000 THEN 1 ELSE 0 END, 2, 8, 'owner/' || n % 10 FROM generate_series(0, 19999) n`)
	if err != nil {
		t.Fatal(err)
	}
	explain := func(before, claim string, arguments []any) (text string) {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), before); err != nil {
				return err
			}
			sql, _ := claimStatement(claim, 64)
			rows, err := tx.Query(t.Context(), "EXPLAIN "+sql, arguments...)
			if err != nil {
				return err
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			text = strings.Join(lines, "\n")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, c := range map[string]struct {
		before, claim string
		arguments     []any
	}{
		"without limits": {sqlClaimInOrder, sqlClaim, []any{"w", 1, []string{"k"}}},
		"with limits":    {sqlClaimLock, sqlClaimLimited, []any{"w", 1, []string{"k"}, 4, 8}},
	} {
		// Those that were chosen, at most 64, may be sorted.
		const all = "Sort Key: jobs"
		if text := explain(c.before, c.claim, c.arguments); strings.Contains(text, all) {
			t.Errorf("%s it sorts all that is ready:\n%s", name, text)
		}
		if text := explain("SELECT 1", c.claim, c.arguments); !strings.Contains(text, all) {
			t.Errorf("%s the planner would do so by itself:\n%s", name, text)
		}
	}
}

// plan executes a statement once, undone afterwards, and returns the pages it touched and the tables it scanned.
func plan(t *testing.T, conn *pgx.Conn, sql, arguments string) (buffers int, scans []string) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := tx.Exec(t.Context(), "PREPARE s AS "+sql); err != nil {
		t.Fatal(err)
	}
	call := "s"
	if arguments != none {
		call = "s (" + literals(t, tx, arguments) + ")"
	}
	var text []byte
	err = tx.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE "+call).Scan(&text)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if _, err := tx.Exec(t.Context(), "DEALLOCATE s"); err != nil {
		t.Fatal(err)
	}
	var explained []struct{ Plan node }
	if err := json.Unmarshal(text, &explained); err != nil {
		t.Fatal(err)
	}
	root := explained[0].Plan
	buffers = root.Hit + root.Read
	for _, child := range root.Plans {
		if child.Relationship == "InitPlan" {
			buffers = max(buffers, child.Hit+child.Read)
		}
	}
	return buffers, root.scans()
}

// literals replaces subqueries, which EXECUTE does not take, by their values.
func literals(t *testing.T, tx pgx.Tx, arguments string) string {
	t.Helper()
	subquery := regexp.MustCompile(`\(SELECT [^)]*\)[^)]*\)`)
	return subquery.ReplaceAllStringFunc(arguments, func(sql string) string {
		var value string
		if err := tx.QueryRow(t.Context(), "SELECT quote_literal("+sql+")").Scan(&value); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return value
	})
}

type node struct {
	Type         string `json:"Node Type"`
	Relationship string `json:"Parent Relationship"`
	Relation     string `json:"Relation Name"`
	Hit          int    `json:"Shared Hit Blocks"`
	Read         int    `json:"Shared Read Blocks"`
	Plans        []node
}

// small are tables of a few rows each.
var small = map[string]bool{"held": true, "schedules": true, "pauses": true}

func (n node) scans() (found []string) {
	if n.Type == "Seq Scan" && !small[n.Relation] {
		found = append(found, n.Relation)
	}
	for _, child := range n.Plans {
		found = append(found, child.scans()...)
	}
	return found
}
