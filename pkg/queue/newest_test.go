package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
)

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
