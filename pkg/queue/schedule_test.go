package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
)

func TestAScheduledJobComesOncePerPeriodHoweverManyReplicas(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	const period, times = 400 * time.Millisecond, 5
	ran := make(chan int64, 100)
	var q *queue.Queue
	for range 3 {
		cfg := quick()
		cfg.Reap = 20 * time.Millisecond
		q = queue.New(pool, cfg)
		q.Handle("tidy", work(func(_ context.Context, job *queue.Job) error {
			ran <- job.ID
			return nil
		}))
		q.Every("tidy", period)
		run(t, q)
	}
	for range times {
		receive(t, "the job", ran)
	}
	list, err := q.List(t.Context(), queue.Filter{Kind: "tidy", Key: "schedule/tidy"})
	if err != nil || len(list) < times {
		t.Fatalf("%d jobs, %v", len(list), err)
	}
	for i := range len(list) - 1 {
		if between := list[i].CreatedAt.Sub(list[i+1].CreatedAt); between < period {
			t.Errorf("two jobs within %s", between)
		}
	}
}

func TestAScheduledJobThatWaitsIsNotEnqueuedAgain(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Reap = 20 * time.Millisecond
	q := queue.New(pool, cfg)
	q.Every("slow", 50*time.Millisecond) // Nobody here does it.
	run(t, q)
	next := func() (at time.Time) {
		err := pool.QueryRow(t.Context(), "SELECT next_at FROM schedules WHERE kind = 'slow'").Scan(&at)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		return at
	}
	until(t, "it was fired", func() bool { return !next().IsZero() })
	first := next()
	until(t, "it was fired again", func() bool { return next().After(first) })
	list, err := q.List(t.Context(), queue.Filter{Kind: "slow"})
	if err != nil || len(list) != 1 {
		t.Errorf("%d jobs, %v", len(list), err)
	}
}

func TestAScheduleIsNotFrozenByAClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	if _, err := pool.Exec(t.Context(), "INSERT INTO schedules VALUES ('tidy', now() + interval '1 hour')"); err != nil {
		t.Fatal(err)
	}
	q := queue.New(pool, quick())
	ran := make(chan struct{}, 1)
	q.Handle("tidy", work(func(context.Context, *queue.Job) error {
		ran <- struct{}{}
		return nil
	}))
	q.Every("tidy", time.Minute)
	run(t, q)
	receive(t, "the job", ran)
}

func hasten(t *testing.T, pool *pgxpool.Pool, q *queue.Queue, kind, key string) (found bool) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		found, err = q.Hasten(t.Context(), tx, kind, key)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestHastenLetsAJobGoThatWasPutOff(t *testing.T) {
	t.Parallel()
	for name, putOff := range map[string]error{"snoozed": queue.Snooze(time.Hour, "waits for approval"), "failed": errors.New("broken")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t)
			cfg := quick()
			cfg.Poll = time.Hour // Workers learn of it by notification.
			q := queue.New(pool, cfg)
			calls := 0 // Of one key: one after the other.
			q.Handle("run", queue.Handler{BackoffBase: time.Hour, BackoffCap: time.Hour, Work: func(context.Context, *queue.Job) error {
				if calls++; calls == 1 {
					return putOff
				}
				return nil
			}})
			run(t, q)
			id := enqueue(t, pool, q, queue.Insert{Kind: "run", Key: "a"})[0].ID
			until(t, "the job waits", func() bool {
				e, err := q.Get(t.Context(), id)
				return err == nil && e.State == queue.Ready && e.StartedAt != nil
			})
			if hasten(t, pool, q, "other", "a") || hasten(t, pool, q, "run", "b") {
				t.Error("found a job that is not there")
			}
			if !hasten(t, pool, q, "run", "a") {
				t.Error("did not find the job")
			}
			wantState(t, q, id, queue.Done)
		})
	}
}

// An approval may come after the run has looked for it and before it is put off.
func TestHastenIsNotLostOnAJobThatIsJustBeingPutOff(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	looked, goOn := make(chan struct{}), make(chan struct{})
	calls := 0
	q.Handle("run", work(func(context.Context, *queue.Job) error {
		if calls++; calls > 1 {
			return nil
		}
		close(looked)
		<-goOn
		return queue.Snooze(time.Hour, "waits for approval")
	}))
	run(t, q)
	id := enqueue(t, pool, q, queue.Insert{Kind: "run", Key: "a"})[0].ID
	receive(t, "the look", looked)
	if !hasten(t, pool, q, "run", "a") {
		t.Error("did not find the running job")
	}
	close(goOn)
	wantState(t, q, id, queue.Done)
}
