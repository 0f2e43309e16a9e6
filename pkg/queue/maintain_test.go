package queue

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
)

func partitions(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sqlPartitions)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestPartitionsAreMadeAheadAndDroppedWhenAllOfThemIsOld(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := New(pool, Config{Retention: 10 * 24 * time.Hour})
	now := time.Now()
	name := func(weeks int) string {
		return partitionName + monday(now.Add(time.Duration(weeks)*week)).Format(partitionDay)
	}
	for _, weeks := range []int{-4, -3, -1, 0} {
		if err := q.makePartition(t.Context(), now.Add(time.Duration(weeks)*week)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // The second time there is nothing to do.
		if err := q.maintain(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{name(-1), name(0), name(1), name(2), partitionName + "default"}
	if diff := cmp.Diff(want, partitions(t, pool)); diff != "" {
		t.Error(diff)
	}
	// What ends now lies in its week's partition.
	insertHistory := `INSERT INTO job_history (id, finished_at, created_at, run_at, generation, state, priority, attempt, max_attempts, kind, key, failures, args)
		VALUES (1, now(), now(), now(), 0, 3, 2, 1, 8, 'k', 'a', '[]', '{}') RETURNING tableoid::regclass::text`
	var place string
	if err := pool.QueryRow(t.Context(), insertHistory).Scan(&place); err != nil || place != name(0) {
		t.Errorf("the job lies in %s, %v", place, err)
	}
	if entry, err := q.Get(t.Context(), 1); err != nil || entry.State != Done {
		t.Errorf("%+v, %v", entry, err)
	}
}

func TestAWeekWhoseJobsLieInTheDefaultPartitionStaysThere(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	_, err := pool.Exec(t.Context(), `INSERT INTO job_history (id, finished_at, created_at, run_at, generation, state, priority, attempt, max_attempts, kind, key, failures, args)
		VALUES (1, now() + interval '1 week', now(), now(), 0, 3, 2, 1, 8, 'k', 'a', '[]', '{}')`)
	if err != nil {
		t.Fatal(err)
	}
	if err := New(pool, Config{}).maintain(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if got := partitions(t, pool); len(got) != 2 {
		t.Errorf("partitions %v", got)
	}
}

func TestAWeekBeginsOnMonday(t *testing.T) {
	t.Parallel()
	for day := range 7 {
		at := time.Date(2026, 11, 23+day, 23, 59, 0, 0, time.UTC)
		if got := monday(at); got.Format(time.DateOnly) != "2026-11-23" {
			t.Errorf("%s: %s", at, got)
		}
	}
}
