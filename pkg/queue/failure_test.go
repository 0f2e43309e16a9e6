package queue_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// soon tries again without the test having to wait.
func soon(h queue.Handler) queue.Handler {
	h.BackoffBase, h.BackoffCap = 20*time.Millisecond, 50*time.Millisecond
	return h
}

func TestWaitsAsLongAsTheFaultAsks(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	q.Handle("k", soon(work(func(context.Context, *queue.Job) error {
		return fault.New(fault.DatabaseUnreachable, "rate limit").RetryAfter(time.Hour)
	})))
	run(t, q)
	id := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})[0].ID
	until(t, "the job waits", func() bool {
		e, err := q.Get(t.Context(), id)
		return err == nil && e.State == queue.Ready && time.Until(e.RunAt) > 50*time.Minute
	})
}

func TestTellsTheEndAgainWhenTellingFailed(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	var calls atomic.Int32
	q.Handle("k", soon(queue.Handler{
		Work: func(context.Context, *queue.Job) error { return fault.New(fault.ScoreSyntax, "no YAML") },
		OnEnd: func(context.Context, pgx.Tx, *queue.Job, error) error {
			switch calls.Add(1) {
			case 1:
				return errors.New("the outbox is full")
			case 2:
				panic("and now this")
			}
			return nil
		},
	}))
	run(t, q)
	wantState(t, q, enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})[0].ID, queue.Dead)
	if calls.Load() != 3 {
		t.Errorf("told %d times", calls.Load())
	}
}

func TestSnoozeBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	var calls atomic.Int32
	q.Handle("k", queue.Handler{MaxAttempts: 1, Work: func(_ context.Context, job *queue.Job) error {
		if job.Attempt != 1 {
			t.Errorf("attempt %d", job.Attempt)
		}
		if calls.Add(1) < 4 {
			return queue.Snooze(10*time.Millisecond, "waiting for approval")
		}
		return nil
	}})
	run(t, q)
	e := wantState(t, q, enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})[0].ID, queue.Done)
	if len(e.Failures) != 0 || calls.Load() != 4 {
		t.Errorf("%d calls, failures %+v", calls.Load(), e.Failures)
	}
}

func TestTimeoutIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	q.Handle("k", queue.Handler{MaxAttempts: 1, Timeout: 20 * time.Millisecond, Work: func(ctx context.Context, _ *queue.Job) error {
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, queue.ErrTimeout) {
			t.Errorf("cause %v", cause)
		}
		return ctx.Err()
	}})
	run(t, q)
	e := wantState(t, q, enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})[0].ID, queue.Dead)
	if e.Failures[0].Code != string(fault.JobTimedOut) {
		t.Errorf("failure %+v", e.Failures[0])
	}
}

func TestCancelsWaitingAndRunningJobs(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Lease, cfg.Heartbeat = time.Hour, 20*time.Minute // The running job learns of it by notification.
	q := queue.New(pool, cfg)
	started := make(chan int64, 3)
	told := make(chan int64, 3)
	q.Handle("k", queue.Handler{
		Work: func(ctx context.Context, job *queue.Job) error {
			started <- job.ID
			if string(job.Args) == `"quick"` {
				return nil
			}
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, queue.ErrCancelled) {
				t.Errorf("cause %v", cause)
			}
			return ctx.Err()
		},
		OnEnd: func(_ context.Context, _ pgx.Tx, job *queue.Job, cause error) error {
			if !errors.Is(cause, queue.ErrCancelled) {
				t.Errorf("told %v", cause)
			}
			told <- job.ID
			return nil
		},
	})
	run(t, q)
	out := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"}, queue.Insert{Kind: "k", Key: "a"}, queue.Insert{Kind: "k", Key: "a", Args: "quick"})
	running, waiting, last := out[0].ID, out[1].ID, out[2].ID
	receive(t, "the first", started)
	for _, id := range []int64{waiting, running} {
		if err := q.Cancel(t.Context(), id, "typing error"); err != nil {
			t.Fatal(err)
		}
		if e := wantState(t, q, id, queue.Cancelled); e.Note != "typing error" {
			t.Errorf("note %q", e.Note)
		}
		if got := receive(t, "the end", told); got != id {
			t.Errorf("told of %d, want %d", got, id)
		}
	}
	wantState(t, q, last, queue.Done)
	wantCode(t, q.Cancel(t.Context(), last, ""), fault.JobFinished)
	wantCode(t, q.Cancel(t.Context(), 12345, ""), fault.JobNotFound)
}

func TestCancellingTheHeadLetsTheNextGo(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	out := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"}, queue.Insert{Kind: "k", Key: "a"})
	if err := q.Cancel(t.Context(), out[0].ID, ""); err != nil {
		t.Fatal(err)
	}
	e, err := q.Get(t.Context(), out[1].ID)
	if err != nil || e.State != queue.Ready {
		t.Errorf("the next is %s, %v", e.State, err)
	}
}

func TestRetriesADeadJobByHandUnlessSomethingNewerWasAskedFor(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	var mended atomic.Bool
	q.Handle("k", work(func(context.Context, *queue.Job) error {
		if mended.Load() {
			return nil
		}
		return fault.New(fault.ScoreSyntax, "no YAML")
	}))
	stop := run(t, q)
	dead := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a", Generation: 1, Args: "x"})[0].ID
	wantState(t, q, dead, queue.Dead)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	again, err := q.Retry(t.Context(), dead)
	if err != nil {
		t.Fatal(err)
	}
	_, err = q.Retry(t.Context(), dead)
	wantCode(t, err, fault.JobNotDead)
	mended.Store(true)
	run(t, q)
	if e := wantState(t, q, again, queue.Done); e.RetryOf != dead || string(e.Args) != `"x"` {
		t.Errorf("the retry is %+v", e)
	}
	wantState(t, q, enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a", Generation: 2})[0].ID, queue.Done)
	_, err = q.Retry(t.Context(), dead)
	wantCode(t, err, fault.JobOutdated)
	_, err = q.Retry(t.Context(), again)
	wantCode(t, err, fault.JobNotDead)
	_, err = q.Retry(t.Context(), 12345)
	wantCode(t, err, fault.JobNotFound)
}

func TestFinishCommitsWithTheHandlersOwnWrites(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	rolledBack := errors.New("rolled back")
	q.Handle("k", queue.Handler{MaxAttempts: 1, Work: func(ctx context.Context, job *queue.Job) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := q.Enqueue(ctx, tx, queue.Insert{Kind: "follow-up", Key: job.Key}); err != nil {
				return err
			}
			if err := job.Finish(ctx, tx); err != nil {
				return err
			}
			if job.Key == "rolled back" {
				return rolledBack
			}
			return nil
		})
	}})
	followed := make(chan string, 2)
	q.Handle("follow-up", work(func(_ context.Context, job *queue.Job) error {
		followed <- job.Key
		return nil
	}))
	run(t, q)
	out := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "rolled back"}, queue.Insert{Kind: "k", Key: "committed"})
	wantState(t, q, out[0].ID, queue.Dead)
	wantState(t, q, out[1].ID, queue.Done)
	if got := receive(t, "the follow-up", followed); got != "committed" {
		t.Errorf("the follow-up of %s ran", got)
	}
	until(t, "nothing is left", func() bool { return live(t, q) == 0 })
	if len(followed) > 0 {
		t.Error("the follow-up that was rolled back ran")
	}
	want := `
		# HELP reconciler_queue_attempts_total Attempts that ended in this process.
		# TYPE reconciler_queue_attempts_total counter
		reconciler_queue_attempts_total{kind="follow-up",outcome="abandoned"} 0
		reconciler_queue_attempts_total{kind="follow-up",outcome="dead"} 0
		reconciler_queue_attempts_total{kind="follow-up",outcome="done"} 1
		reconciler_queue_attempts_total{kind="follow-up",outcome="lost"} 0
		reconciler_queue_attempts_total{kind="k",outcome="abandoned"} 0
		reconciler_queue_attempts_total{kind="k",outcome="dead"} 1
		reconciler_queue_attempts_total{kind="k",outcome="done"} 1
		reconciler_queue_attempts_total{kind="k",outcome="lost"} 0
		reconciler_queue_attempts_total{kind="maintenance",outcome="abandoned"} 0
		reconciler_queue_attempts_total{kind="maintenance",outcome="dead"} 0
		reconciler_queue_attempts_total{kind="maintenance",outcome="done"} 1
		reconciler_queue_attempts_total{kind="maintenance",outcome="lost"} 0
	`
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(q.Collectors()...)
	until(t, "the metrics are written", func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(want), "reconciler_queue_attempts_total") == nil
	})
}

func TestDepthAndAgeOfEachKindAreMeasured(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Sweep = 100 * time.Millisecond
	q := queue.New(pool, cfg)
	hold := make(chan struct{})
	for _, kind := range []string{"a", "b"} {
		q.Handle(kind, work(func(context.Context, *queue.Job) error { <-hold; return nil }))
	}
	for _, insert := range []queue.Insert{{Kind: "a", Key: "x"}, {Kind: "a", Key: "x"}, {Kind: "b", Key: "x"}, {Kind: "b", Key: "y", RunAt: time.Now().Add(time.Hour)}} {
		enqueue(t, pool, q, insert)
	}
	if _, err := pool.Exec(t.Context(), `UPDATE jobs SET run_at = now() - interval '1 hour' WHERE kind = 'a' AND state = 0`); err != nil {
		t.Fatal(err)
	}
	run(t, q)
	t.Cleanup(func() { close(hold) })
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(q.Collectors()...)
	const want = `
		# HELP reconciler_queue_jobs Live jobs, as last measured by this process.
		# TYPE reconciler_queue_jobs gauge
		reconciler_queue_jobs{kind="a",state="blocked"} 1
		reconciler_queue_jobs{kind="a",state="running"} 1
		reconciler_queue_jobs{kind="b",state="blocked"} 1
		reconciler_queue_jobs{kind="b",state="ready"} 1
	`
	until(t, "the depth is measured", func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(want), "reconciler_queue_jobs") == nil
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	ages := map[string]float64{}
	for _, family := range families {
		if family.GetName() == "reconciler_queue_oldest_seconds" {
			for _, m := range family.GetMetric() {
				ages[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if ages["a blocked"] < 3600 || ages["a running"] > 60 || ages["b ready"] != 0 {
		t.Errorf("the ages are %v", ages)
	}
}

func TestShutdownWaitsThenReleasesWithoutBurningAnAttempt(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Grace = 300 * time.Millisecond
	q := queue.New(pool, cfg)
	started, goOn := make(chan struct{}, 2), make(chan struct{})
	q.Handle("k", work(func(ctx context.Context, job *queue.Job) error {
		started <- struct{}{}
		if job.Key == "ends in time" {
			<-goOn
			return nil
		}
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, queue.ErrShutdown) {
			t.Errorf("cause %v", cause)
		}
		return ctx.Err()
	}))
	stop := run(t, q)
	out := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "ends in time"}, queue.Insert{Kind: "k", Key: "needs longer"})
	receive(t, "one", started)
	receive(t, "the other", started)
	go close(goOn)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	wantState(t, q, out[0].ID, queue.Done)
	e, err := q.Get(t.Context(), out[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	if e.State != queue.Ready || e.Attempt != 0 || len(e.Failures) != 0 {
		t.Errorf("released as %+v", e)
	}
}

func TestShutdownNamesJobsThatDoNotStop(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Grace, cfg.Stop = 10*time.Millisecond, 10*time.Millisecond
	q := queue.New(pool, cfg)
	started, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	q.Handle("k", work(func(context.Context, *queue.Job) error {
		close(started)
		<-goOn
		return nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- q.Run(ctx) }()
	enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "deaf"})
	receive(t, "the job", started)
	cancel()
	if err := receive(t, "the end of Run", ended); err == nil || !strings.Contains(err.Error(), "deaf") {
		t.Errorf("Run returned %v", err)
	}
	close(goOn)
}

func TestLeavesKindsWithoutHandlerToOthers(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	q.Handle("known", work(done))
	run(t, q)
	out := enqueue(t, pool, q, queue.Insert{Kind: "unknown", Key: "a"}, queue.Insert{Kind: "known", Key: "b"})
	wantState(t, q, out[1].ID, queue.Done)
	e, err := q.Get(t.Context(), out[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(queue.Ready, e.State); diff != "" {
		t.Error(diff)
	}
}
