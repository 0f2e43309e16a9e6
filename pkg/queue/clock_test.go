package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// The clock of the database jumps by an hour, forth and back, while jobs run, wait, are put off and are abandoned.
func TestASteppedClockTakesNoJobFromALivingWorkerAndLeavesNoneWithADeadOne(t *testing.T) {
	t.Parallel()
	const step, lease, slack = time.Hour, 3 * time.Second, time.Second
	clock := testenv.NewClock(t)
	server := testenv.NewServer(t, testenv.ServerConfig{Env: clock.Env})
	dir := t.TempDir()
	gone := startVictim(t, server.URL(), dir, leaseVariable+"="+lease.String())
	cfg := quick()
	cfg.Sweep = time.Second
	tr := startTraffic(t, postgres.Config{URL: server.URL()}, cfg)
	q := tr.queues[0]
	taken, again := make(chan struct{}, 1), make(chan struct{}, 1)
	for _, other := range tr.queues {
		other.Handle("fails", queue.Handler{BackoffBase: 6 * time.Second, Work: func(_ context.Context, job *queue.Job) error {
			if job.Attempt > 1 {
				again <- struct{}{}
				return nil
			}
			return errors.New("broken")
		}})
	}
	long, end := tr.long()
	hung := enqueue(t, tr.pool, q, queue.Insert{Kind: "hangs", Key: "hung"})[0].ID
	running := func(id int64) bool {
		e, err := q.Get(t.Context(), id)
		return err == nil && e.State == queue.Running
	}
	until(t, "the other one runs", func() bool { return running(hung) })

	if err := clock.Set(step); err != nil {
		t.Fatal(err)
	}
	until(t, "the server's clock to jump", func() bool {
		var now time.Time
		return tr.pool.QueryRow(t.Context(), "SELECT now()").Scan(&now) == nil && time.Until(now) > step/2
	})
	tr.flows()
	putOff := enqueue(t, tr.pool, q, queue.Insert{Kind: "fails", Key: "fails"})[0].ID
	until(t, "it is put off", func() bool {
		e, err := q.Get(t.Context(), putOff)
		return err == nil && e.State == queue.Ready && len(e.Failures) == 1
	})
	gone.kill(t)
	killed := time.Now()
	for _, other := range tr.queues {
		other.Handle("hangs", work(func(context.Context, *queue.Job) error {
			taken <- struct{}{}
			return nil
		}))
	}
	if err := clock.Set(0); err != nil {
		t.Fatal(err)
	}
	stepped := time.Now()
	receive(t, "the dead worker's job to be taken over", taken)
	if took := time.Since(killed); took > lease+slack {
		t.Errorf("taken over after %s", took)
	}
	receive(t, "the job that was put off", again)
	if took := time.Since(stepped); took > 10*time.Second {
		t.Errorf("the job that was put off came after %s", took)
	}
	tr.flows()
	end()
	if e := wantState(t, q, long, queue.Done); e.Attempt != 1 {
		t.Errorf("the long job was taken from its worker: %+v", e.Failures)
	}
	if e := wantState(t, q, hung, queue.Done); e.Attempt != 2 {
		t.Errorf("the dead worker's job ran %d times", e.Attempt)
	}
	tr.settle()
}
