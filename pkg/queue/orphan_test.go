package queue

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/internal/testenv"
)

// A claim's answer was lost, and somebody has the key of one of the jobs that it granted: the other one is given back, and both
// they and what else is ready are done.
func TestAnOrphanThatCannotBeGivenBackStopsNoClaim(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	ctx, stop := context.WithCancel(t.Context())
	q := New(pool, Config{Name: "w", Log: zerolog.Nop()})
	done := make(chan string, 3)
	q.Handle("k", Handler{Work: func(_ context.Context, job *Job) error {
		done <- job.Key
		return nil
	}})
	for _, key := range []string{"locked", "orphan"} {
		if _, err := pool.Exec(ctx, `INSERT INTO jobs (run_at, due_at, state, priority, max_attempts, kind, key, worker, token, attempt, started_at, lease_until)
			VALUES (now(), now(), 2, 2, 8, 'k', $1, 'w', nextval('job_token_seq'), 1, now(), now() + interval '1 minute')`, key); err != nil {
			t.Fatal(err)
		}
	}
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := q.Enqueue(ctx, tx, Insert{Kind: "k", Key: "other"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(ctx)
	if err == nil {
		err = q.Lock(ctx, tx, "locked")
	}
	if err != nil {
		t.Fatal(err)
	}
	w := q.worker()
	w.unclear = time.Now()
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	for range 2 {
		select {
		case key := <-done:
			if key == "locked" {
				t.Error("the one whose key is locked started")
			}
		case <-time.After(5 * time.Second):
			t.Fatal("what could be done waits for what cannot")
		}
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("the one whose key was locked is not given back")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
