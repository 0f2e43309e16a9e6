package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// Statements are not prepared there: each is used once.
func TestEachStatementWorksThroughPgBouncer(t *testing.T) {
	t.Parallel()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: testenv.PgBouncer(t, testenv.NewServer(t, testenv.ServerConfig{})), PgBouncer: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	cfg := quick()
	cfg.Sweep, cfg.Heartbeat = 50*time.Millisecond, 20*time.Millisecond
	q := queue.New(pool, cfg)
	started := make(chan struct{}, 9)
	q.Handle("fails", soon(queue.Handler{MaxAttempts: 2, Work: func(context.Context, *queue.Job) error { return errors.New("broken") }}))
	q.Handle("waits", work(func(ctx context.Context, job *queue.Job) error {
		started <- struct{}{}
		select {
		case <-job.Superseded():
			return queue.ErrSuperseded
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	q.Handle("finishes", work(func(ctx context.Context, job *queue.Job) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return job.Finish(ctx, tx) })
	}))
	run(t, q)
	out := enqueue(t, pool, q,
		queue.Insert{Kind: "fails", Key: "a", Dedupe: "x"}, queue.Insert{Kind: "waits", Key: "b", Generation: 1},
		queue.Insert{Kind: "finishes", Key: "c", RunAt: time.Now().Add(50 * time.Millisecond)})
	wantState(t, q, out[0].ID, queue.Dead)
	receive(t, "the waiting job", started)
	again, err := q.Retry(t.Context(), out[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, q, again, queue.Dead)
	newer := enqueue(t, pool, q, queue.Insert{Kind: "waits", Key: "b", Generation: 2}, queue.Insert{Kind: "waits", Key: "b", Generation: 3})
	if len(newer[1].Replaced) != 1 {
		t.Errorf("replaced %+v", newer[1].Replaced)
	}
	wantState(t, q, out[1].ID, queue.Superseded)
	receive(t, "the newer job", started)
	if err := q.Cancel(t.Context(), newer[1].ID, "enough"); err != nil {
		t.Fatal(err)
	}
	wantState(t, q, newer[1].ID, queue.Cancelled)
	wantState(t, q, out[2].ID, queue.Done)
	for _, f := range []queue.Filter{{}, {Key: "b", States: []queue.State{queue.Superseded}}} {
		if list, err := q.List(t.Context(), f); err != nil || len(list) < 2 {
			t.Errorf("list %+v, %v", list, err)
		}
	}
}
