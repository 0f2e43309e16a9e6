package queue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

func TestHeartbeatsKeepALongJob(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Lease, cfg.Heartbeat = 3*time.Second, 200*time.Millisecond
	q := queue.New(pool, cfg)
	q.Handle("k", work(func(ctx context.Context, _ *queue.Job) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Second): // The work: longer than a lease.
			return nil
		}
	}))
	run(t, q)
	e := wantState(t, q, enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})[0].ID, queue.Done)
	if e.Attempt != 1 {
		t.Errorf("attempt %d", e.Attempt)
	}
}

func TestAWorkerLearnsThatItsLeaseWasGivenAway(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	started, causes := make(chan int64, 2), make(chan error, 2)
	q.Handle("k", work(func(ctx context.Context, job *queue.Job) error {
		started <- job.ID
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return ctx.Err()
	}))
	run(t, q)
	enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})
	id := receive(t, "the job", started)
	if _, err := pool.Exec(t.Context(), "UPDATE jobs SET token = nextval('job_token_seq'), lease_until = now() + interval '1 hour' WHERE id = $1", id); err != nil {
		t.Fatal(err)
	}
	if cause := receive(t, "the cause", causes); !errors.Is(cause, queue.ErrLeaseLost) {
		t.Errorf("cause %v", cause)
	}
	e, err := q.Get(t.Context(), id)
	if err != nil || e.State != queue.Running {
		t.Errorf("the job of the other worker is %s, %v", e.State, err)
	}
}

func TestAJobThatKillsItsWorkersEndsDeadAndIsTold(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	told := make(chan error, 1)
	q.Handle("k", queue.Handler{Work: done, OnEnd: func(_ context.Context, _ pgx.Tx, _ *queue.Job, cause error) error {
		told <- cause
		return nil
	}})
	id := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a", MaxAttempts: 2}, queue.Insert{Kind: "k", Key: "a"})[0].ID
	// What a worker leaves behind that died in its last attempt.
	if _, err := pool.Exec(t.Context(), `UPDATE jobs SET state = 2, attempt = 2, token = nextval('job_token_seq'),
		lease_until = now() - interval '1 s', lease_us = 1000000, worker = 'gone', started_at = now() WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	run(t, q)
	wantState(t, q, id, queue.Dead)
	if f, ok := fault.As(receive(t, "the end", told)); !ok || f.Code != fault.JobAbandoned {
		t.Errorf("told %v", f)
	}
	until(t, "the next of the key is done", func() bool { return live(t, q) == 0 })
}

// abandon makes jobs running ones in their last attempt, whose workers are gone since longer than anybody waits for an end to be told.
func abandon(t *testing.T, pool *pgxpool.Pool, jobs ...queue.Enqueued) {
	t.Helper()
	for _, job := range jobs {
		if _, err := pool.Exec(t.Context(), `UPDATE jobs SET state = 2, attempt = 1, token = nextval('job_token_seq'),
			lease_until = now() - interval '1 hour', lease_us = 1000000, worker = 'gone', started_at = now() WHERE id = $1`, job.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnAbandonedJobOfAnUnknownKindIsLeftToThoseWhoCanTellItsEnd(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Bury = 4 * time.Second
	q := queue.New(pool, cfg)
	q.Handle("known", work(done))
	job := enqueue(t, pool, q, queue.Insert{Kind: "unknown", Key: "a", MaxAttempts: 1})[0]
	abandon(t, pool, job)
	began := time.Now()
	run(t, q)
	wantState(t, q, job.ID, queue.Dead) // Nobody came for too long: it must not hold its key for ever.
	if took := time.Since(began); took < cfg.Bury {
		t.Errorf("buried after %s", took)
	}
}

// However long nobody was there, and whatever the database's clock says: who is interrupted has its end told.
func TestNoOutageIsTooLongForAnEndToBeTold(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	told := make(chan error, 3)
	for _, kind := range []string{"last", "newer", "cancelled"} {
		q.Handle(kind, queue.Handler{Work: done, OnEnd: func(_ context.Context, _ pgx.Tx, _ *queue.Job, cause error) error {
			told <- cause
			return nil
		}})
	}
	old := enqueue(t, pool, q, queue.Insert{Kind: "last", Key: "a", MaxAttempts: 1}, queue.Insert{Kind: "newer", Key: "b", Generation: 1},
		queue.Insert{Kind: "cancelled", Key: "c"})
	abandon(t, pool, old...)
	if _, err := pool.Exec(t.Context(), `UPDATE jobs SET cancel_at = now() - interval '1 hour' WHERE kind = 'cancelled'`); err != nil {
		t.Fatal(err)
	}
	enqueue(t, pool, q, queue.Insert{Kind: "newer", Key: "b", Generation: 2})
	run(t, q)
	for i, want := range []queue.State{queue.Dead, queue.Superseded, queue.Cancelled} {
		wantState(t, q, old[i].ID, want)
	}
	for range old {
		receive(t, "an end to be told", told)
	}
}

func TestAnEndThatCannotBeToldIsGivenUpInTheEnd(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Bury = 3 * time.Second
	q := queue.New(pool, cfg)
	var tries atomic.Int64
	q.Handle("k", queue.Handler{Work: done, OnEnd: func(ctx context.Context, tx pgx.Tx, _ *queue.Job, _ error) error {
		tries.Add(1)
		_, err := tx.Exec(ctx, `SELECT 1 / 0`)
		return err
	}})
	// That the database has no room says nothing of the end: it is told when there is.
	full, told := atomic.Bool{}, make(chan error, 1)
	full.Store(true)
	q.Handle("full", queue.Handler{Work: done, OnEnd: func(ctx context.Context, tx pgx.Tx, _ *queue.Job, cause error) error {
		if full.Load() {
			_, err := tx.Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$`)
			return err
		}
		told <- cause
		return nil
	}})
	out := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a", MaxAttempts: 1}, queue.Insert{Kind: "k", Key: "a"})
	waits := enqueue(t, pool, q, queue.Insert{Kind: "full", Key: "full", MaxAttempts: 1})[0]
	abandon(t, pool, out[0], waits)
	began := time.Now()
	run(t, q)
	wantState(t, q, out[0].ID, queue.Dead)
	if took := time.Since(began); took < cfg.Bury || tries.Load() < 3 {
		t.Errorf("given up after %s and %d tries", took, tries.Load())
	}
	wantState(t, q, out[1].ID, queue.Done)
	full.Store(false)
	receive(t, "the end to be told once there is room", told)
	wantState(t, q, waits.ID, queue.Dead)
}

func TestHandlersThatUseUpThePoolDoNotCostTheLease(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Lease, cfg.Heartbeat = 3*time.Second, 200*time.Millisecond
	q := queue.New(pool, cfg)
	q.Handle("k", work(func(ctx context.Context, _ *queue.Job) error {
		for range pool.Config().MaxConns {
			conn, err := pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer conn.Release()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Second): // The work: longer than a lease.
			return nil
		}
	}))
	run(t, q)
	e := wantState(t, q, enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})[0].ID, queue.Done)
	if e.Attempt != 1 {
		t.Errorf("attempt %d: %+v", e.Attempt, e.Failures)
	}
}

func TestGoesOnAfterTheDatabaseHasDroppedAllConnections(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	started := make(chan struct{}, 1)
	goOn := make(chan struct{})
	q.Handle("k", work(func(context.Context, *queue.Job) error {
		started <- struct{}{}
		<-goOn
		return nil
	}))
	run(t, q)
	id := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})[0].ID
	receive(t, "the job", started)
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	until(t, "the job is done", func() bool {
		e, err := q.Get(t.Context(), id)
		return err == nil && e.State == queue.Done
	})
	until(t, "another one is done", func() bool {
		e, err := q.Get(t.Context(), enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "b"})[0].ID)
		return err == nil && e.ID != 0
	})
}
