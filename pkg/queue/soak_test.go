package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
)

const (
	// soakHistory and soakQueued name the variables with the numbers of jobs that ended in the four weeks before, and that are
	// queued: half of them wait for tomorrow, the others are due and of the lowest priority.
	soakHistory = "RECONCILER_SOAK_HISTORY"
	soakQueued  = "RECONCILER_SOAK_QUEUED"
	// soakGrowth is how much the table of live jobs may grow in the second half of the time: it is as large as it gets by then.
	soakGrowth = 1.2
	// soakStart is what the slowest but one in a hundred may take to start.
	soakStart = 250 * time.Millisecond
)

// soakFill makes both, in parts, so that no statement is as long as the default limit.
var soakFill = map[string]string{
	soakHistory: `INSERT INTO job_history (id, finished_at, created_at, run_at, generation, state, priority, attempt, max_attempts, kind, key, failures, args)
		SELECT n + 1000000000, now() - random() * interval '27 days', now(), now(), 0, 3, 2, 1, 8, 'old', 'key' || n % 50000, '[]', '{}' FROM generate_series($1::bigint, $2::bigint) n`,
	soakQueued: `INSERT INTO jobs (key, kind, due_at, run_at, state, priority, max_attempts)
		SELECT 'waits' || n, 'backlog', at, at, 1, 4, 8 FROM (SELECT n, CASE n % 2 WHEN 0 THEN now() ELSE now() + interval '1 day' END AS at FROM generate_series($1::bigint, $2::bigint) n) t`,
}

// BenchmarkSoak measures bursts of 20 jobs on 1,000 keys beside many that are queued and very many that ended: the time to start,
// to find a job and to list those of a key, how long what is due besides takes, and how the table of live jobs grows. `make soak`
// runs it with large numbers, and fails if jobs start late or the table goes on growing.
func BenchmarkSoak(b *testing.B) {
	const burst, part = 20, 100_000
	pool := testenv.Pool(b)
	q := New(pool, Config{Workers: 32, Poll: time.Hour})
	for weeks := range 5 {
		if err := q.makePartition(b.Context(), time.Now().Add(-time.Duration(weeks)*week)); err != nil {
			b.Fatal(err)
		}
	}
	count := map[string]int{}
	for name, otherwise := range map[string]int{soakHistory: 10_000, soakQueued: 1_000} {
		count[name] = otherwise
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			count[name] = n
		}
		for from := 0; from < count[name]; from += part {
			if _, err := pool.Exec(b.Context(), soakFill[name], from, min(from+part, count[name])-1); err != nil {
				b.Fatal(err)
			}
		}
	}
	if _, err := pool.Exec(b.Context(), "ANALYZE"); err != nil {
		b.Fatal(err)
	}
	started := make(chan time.Time, burst)
	q.Handle("k", Handler{Work: func(context.Context, *Job) error {
		started <- time.Now()
		return nil
	}})
	began := time.Now()
	var backlog, drained atomic.Int64
	q.Handle("backlog", Handler{Work: func(context.Context, *Job) error {
		if backlog.Add(1) == int64(count[soakQueued]/2) {
			drained.Store(time.Since(began).Milliseconds())
		}
		return nil
	}})
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	sizes := []float64{tableSize(b, q)}
	var starts, gets, lists []time.Duration
	timed := func(act func() error) time.Duration {
		from := time.Now()
		if err := act(); err != nil {
			b.Fatal(err)
		}
		return time.Since(from)
	}
	for b.Loop() {
		inserts := make([]Insert, burst)
		for i := range inserts {
			inserts[i] = Insert{Kind: "k", Key: fmt.Sprint("key", rand.IntN(1000))}
		}
		timed(func() error {
			return pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error { _, err := q.Enqueue(b.Context(), tx, inserts...); return err })
		})
		committed := time.Now()
		for range burst {
			starts = append(starts, max(0, (<-started).Sub(committed)))
		}
		gets = append(gets, timed(func() error {
			_, err := q.Get(b.Context(), 1_000_000_000+rand.Int64N(int64(count[soakHistory])))
			return err
		}))
		lists = append(lists, timed(func() error {
			_, err := q.List(b.Context(), Filter{Key: fmt.Sprint("key", rand.IntN(50000))})
			return err
		}))
		if time.Since(began) > time.Duration(len(sizes))*time.Second {
			sizes = append(sizes, tableSize(b, q))
		}
	}
	for name, took := range map[string][]time.Duration{"start": starts, "get": gets, "list": lists} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, name+"-p99-ms")
	}
	b.ReportMetric(float64(drained.Load())/1000, "backlog-s")
	half, last := sizes[len(sizes)/2], tableSize(b, q)
	b.ReportMetric(sizes[0], "jobs-MiB-before")
	b.ReportMetric(half, "jobs-MiB-half")
	b.ReportMetric(last, "jobs-MiB-after")
	if len(sizes) > 60 && last > half*soakGrowth {
		b.Errorf("the table of live jobs grows from %.0f to %.0f MiB in the second half", half, last)
	}
	if late := starts[len(starts)*99/100]; len(sizes) > 60 && late > soakStart {
		b.Errorf("one in a hundred jobs starts after %s", late)
	}
	stop()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// tableSize returns the size of the table of live jobs with its indexes, in MiB.
func tableSize(b *testing.B, q *Queue) (size float64) {
	b.Helper()
	if err := q.pool.QueryRow(b.Context(), "SELECT pg_total_relation_size('jobs') / 1048576.0").Scan(&size); err != nil {
		b.Fatal(err)
	}
	return size
}
