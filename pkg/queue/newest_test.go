package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
)

func TestNewestWinsAndSupersededJobsNeverRun(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Heartbeat = 900 * time.Millisecond // The running job learns of the newer one by notification.
	q := queue.New(pool, cfg)
	ran := make(chan int64, 9)
	newer, goOn := make(chan struct{}), make(chan struct{})
	q.Handle("run", work(func(_ context.Context, job *queue.Job) error {
		ran <- job.Generation
		if job.Generation > 1 {
			return nil
		}
		<-job.Superseded()
		close(newer)
		<-goOn
		return queue.ErrSuperseded
	}))
	run(t, q)
	insert := func(generation int64) queue.Enqueued {
		return enqueue(t, pool, q, queue.Insert{Kind: "run", Key: "shop/prod", Generation: generation, Args: generation})[0]
	}
	first := insert(1)
	if got := receive(t, "the first", ran); got != 1 {
		t.Fatalf("generation %d ran", got)
	}
	second := insert(2)
	receive(t, "the first to learn of the newer", newer)
	third := insert(3)
	old := insert(2)
	close(goOn)

	want := []queue.Replaced{{ID: second.ID, Generation: 2, Args: json.RawMessage("2")}}
	if diff := cmp.Diff(want, third.Replaced); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(queue.Enqueued{Outcome: queue.Older, ID: third.ID}, old); diff != "" {
		t.Error(diff)
	}
	wantState(t, q, first.ID, queue.Superseded)
	wantState(t, q, second.ID, queue.Superseded)
	wantState(t, q, third.ID, queue.Done)
	if got := receive(t, "the third", ran); got != 3 {
		t.Errorf("generation %d ran", got)
	}
}

func TestANewerGenerationReplacesOneThatWaitsForItsRetry(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	q.Handle("run", queue.Handler{BackoffBase: time.Hour, BackoffCap: time.Hour, Work: func(_ context.Context, job *queue.Job) error {
		if job.Generation == 1 {
			return errors.New("broken")
		}
		return nil
	}})
	run(t, q)
	first := enqueue(t, pool, q, queue.Insert{Kind: "run", Key: "a", Generation: 1})[0]
	until(t, "the first waits for its retry", func() bool {
		e, err := q.Get(t.Context(), first.ID)
		return err == nil && e.State == queue.Ready && len(e.Failures) == 1
	})
	second := enqueue(t, pool, q, queue.Insert{Kind: "run", Key: "a", Generation: 2})[0]
	if len(second.Replaced) != 1 || second.Replaced[0].Attempt != 1 {
		t.Errorf("the answer does not tell of the replaced job: %+v", second)
	}
	wantState(t, q, first.ID, queue.Superseded)
	wantState(t, q, second.ID, queue.Done)
}

func TestAFailedJobMakesWayForTheNewerGenerationThatWaits(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	started, goOn := make(chan struct{}), make(chan struct{})
	told := make(chan error, 1)
	q.Handle("run", queue.Handler{
		Work: func(_ context.Context, job *queue.Job) error {
			if job.Generation == 1 {
				started <- struct{}{}
				<-goOn
				return errors.New("broken")
			}
			return nil
		},
		OnEnd: func(_ context.Context, _ pgx.Tx, _ *queue.Job, cause error) error {
			told <- cause
			return nil
		},
	})
	run(t, q)
	first := enqueue(t, pool, q, queue.Insert{Kind: "run", Key: "a", Generation: 1})[0]
	receive(t, "the first", started)
	second := enqueue(t, pool, q, queue.Insert{Kind: "run", Key: "a", Generation: 2})[0]
	close(goOn)
	wantState(t, q, first.ID, queue.Superseded)
	wantState(t, q, second.ID, queue.Done)
	if cause := receive(t, "the end", told); !errors.Is(cause, queue.ErrSuperseded) {
		t.Errorf("told %v", cause)
	}
}

func TestDropsDuplicatesOfWaitingJobsOnly(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	started, goOn := make(chan struct{}, 2), make(chan struct{})
	q.Handle("look", work(func(context.Context, *queue.Job) error {
		started <- struct{}{}
		<-goOn
		return nil
	}))
	hint := queue.Insert{Kind: "look", Key: "shop", Dedupe: "main"}
	first := enqueue(t, pool, q, hint)[0]
	got := enqueue(t, pool, q, hint, hint)
	want := []queue.Enqueued{{Outcome: queue.Duplicate, ID: first.ID}, {Outcome: queue.Duplicate, ID: first.ID}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	run(t, q)
	receive(t, "the first", started)
	// The running one may have looked before what this hint tells of happened.
	if got := enqueue(t, pool, q, hint)[0]; got.Outcome != queue.Inserted {
		t.Errorf("a hint during the look is dropped: %+v", got)
	}
	close(goOn)
	receive(t, "the second", started)
}

func TestGoingBackToAnOldCommitIsANewGeneration(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	for generation, commit := range []string{"a", "b", "a"} {
		out := enqueue(t, pool, q, queue.Insert{Kind: "run", Key: "k", Generation: int64(generation + 1), Dedupe: commit})
		if out[0].Outcome != queue.Inserted {
			t.Errorf("generation %d is not inserted", generation+1)
		}
	}
}

func TestSupersedingTheHeadLetsTheNextKindOfTheKeyGo(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	out := enqueue(t, pool, q,
		queue.Insert{Kind: "run", Key: "k", Generation: 1}, queue.Insert{Kind: "check", Key: "k"},
		queue.Insert{Kind: "run", Key: "k", Generation: 2})
	var states []queue.State
	for _, o := range out {
		e, err := q.Get(t.Context(), o.ID)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, e.State)
	}
	if diff := cmp.Diff([]queue.State{queue.Superseded, queue.Ready, queue.Blocked}, states); diff != "" {
		t.Error(diff)
	}
}
