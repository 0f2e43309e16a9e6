package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
)

// BenchmarkThroughput enqueues b.N jobs on 1,000 keys, 100 to a transaction, and runs them all; the figure is for both.
func BenchmarkThroughput(b *testing.B) {
	const keys, each = 1000, 100
	pool := testenv.Pool(b)
	q := queue.New(pool, queue.Config{Workers: 256})
	var ran atomic.Int64
	all := make(chan struct{})
	q.Handle("k", work(func(context.Context, *queue.Job) error {
		if ran.Add(1) == int64(b.N) {
			close(all)
		}
		return nil
	}))
	b.ResetTimer()
	for from := 0; from < b.N; from += each {
		inserts := make([]queue.Insert, 0, each)
		for n := from; n < min(from+each, b.N); n++ {
			inserts = append(inserts, queue.Insert{Kind: "k", Key: fmt.Sprint("key", n%keys)})
		}
		enqueue(b, pool, q, inserts...)
	}
	enqueued := b.Elapsed()
	transactions := func() (n int64) {
		if err := pool.QueryRow(b.Context(), "SELECT pg_current_xact_id()::text::bigint").Scan(&n); err != nil {
			b.Fatal(err)
		}
		return n
	}
	before := transactions()
	run(b, q)
	receive(b, "all jobs", all)
	b.StopTimer()
	b.ReportMetric(float64(transactions()-before)/float64(b.N), "transactions/job")
	b.ReportMetric(float64(b.N)/enqueued.Seconds(), "enqueued/s")
	b.ReportMetric(float64(b.N)/(b.Elapsed()-enqueued).Seconds(), "run/s")
}

// BenchmarkIdleLatency measures one job at a time from the commit of its enqueueing to its start and to its end.
func BenchmarkIdleLatency(b *testing.B) {
	pool := testenv.Pool(b)
	q := queue.New(pool, queue.Config{Poll: time.Hour})
	started := make(chan time.Time, 1)
	q.Handle("k", work(func(context.Context, *queue.Job) error {
		started <- time.Now()
		return nil
	}))
	run(b, q)
	var starts []time.Duration
	for b.Loop() {
		var committed time.Time
		err := pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error {
			_, err := q.Enqueue(b.Context(), tx, queue.Insert{Kind: "k", Key: "a"})
			committed = time.Now()
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		starts = append(starts, receive(b, "the start", started).Sub(committed))
	}
	slices.Sort(starts)
	b.ReportMetric(float64(starts[len(starts)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(starts[len(starts)*99/100].Microseconds()), "p99-µs")
}
