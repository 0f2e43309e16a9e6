package queue_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// What a worker may have that was cut off from the database, suspended, or is just slow: it writes after another took over.
func TestPromiseALateWriteOfAWorkerThatLostItsLeaseIsRefused(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Lease, cfg.Heartbeat = time.Second, time.Hour // Heartbeats never come.
	cfg.Workers = 1
	first, second := make(chan *queue.Job, 1), make(chan *queue.Job, 1)
	fenced, takenOver, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
	late := make(chan error, 2)
	inTransaction := func(act func(context.Context, pgx.Tx) error) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return act(t.Context(), tx) })
	}
	queues := replicas(t, pool.Config().ConnString(), cfg, map[string]queue.Handler{"k": work(func(ctx context.Context, job *queue.Job) error {
		if job.Attempt > 1 {
			second <- job
			<-goOn
			return nil
		}
		first <- job
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, queue.ErrLeaseLost) {
			t.Errorf("cause %v", cause)
		}
		close(fenced)
		<-takenOver
		late <- inTransaction(job.Hold)
		late <- inTransaction(job.Finish)
		return nil // And so says that it is done.
	})})
	for _, q := range queues {
		run(t, q)
	}
	id := enqueue(t, pool, queues[0], queue.Insert{Kind: "k", Key: "a"})[0].ID
	older := receive(t, "the first worker", first)
	receive(t, "the first to fence itself, without asking anybody", fenced)
	newer := receive(t, "the second worker", second)
	if newer.Token <= older.Token {
		t.Errorf("the second has token %d, the first %d", newer.Token, older.Token)
	}
	close(takenOver)
	for _, act := range []string{"hold", "finish"} {
		if err := receive(t, act, late); !errors.Is(err, queue.ErrLeaseLost) {
			t.Errorf("a late %s gave %v", act, err)
		}
	}
	if e, err := queues[0].Get(t.Context(), id); err != nil || e.State != queue.Running {
		t.Errorf("after the late writes the job is %s, %v", e.State, err)
	}
	close(goOn)
	e := wantState(t, queues[0], id, queue.Done)
	if e.Attempt != 2 || len(e.Failures) != 1 || e.Failures[0].Code != string(fault.JobAbandoned) {
		t.Errorf("history: attempt %d, %+v", e.Attempt, e.Failures)
	}
}

func TestPromiseACrashedWorkersJobIsTakenOverWithinOneLease(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		testTakeOver(t, "hangs", true)
	})
	// It stops itself in the middle of a transaction that holds its row, as a machine that is suspended does.
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		testTakeOver(t, "freezes", false)
	})
}

func testTakeOver(t *testing.T, kind string, killed bool) {
	const lease, slack = 5 * time.Second, time.Second
	pool, dir := testenv.Pool(t), t.TempDir()
	victims := map[int]victim{}
	for range replicaCount {
		v := startVictim(t, pool.Config().ConnString(), dir, leaseVariable+"="+lease.String())
		victims[v.cmd.Process.Pid] = v
	}
	t.Cleanup(func() {
		for _, v := range victims {
			v.kill(t)
		}
	})
	workers := func() (pids []int) {
		text, err := os.ReadFile(filepath.Join(dir, "a"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		return pids
	}
	enqueue(t, pool, queue.New(pool, quick()), queue.Insert{Kind: kind, Key: "a"})
	until(t, "a worker has it", func() bool { return len(workers()) == 1 })
	if pid := workers()[0]; killed {
		victims[pid].kill(t)
		delete(victims, pid)
	}
	stopped := time.Now()
	until(t, "another worker has it", func() bool { return len(workers()) == 2 })
	took := time.Since(stopped)
	t.Logf("taken over after %s with a lease of %s", took, lease)
	if took > lease+slack {
		t.Errorf("taken over after %s, want at most %s", took, lease+slack)
	}
}

func TestPromiseACancelledJobStopsWithinTwoSecondsOrIsAbandonedAndFenced(t *testing.T) {
	t.Parallel()
	nowhere := testenv.Pool(t).Config().ConnConfig
	for name, cfg := range map[string]queue.Config{
		"told by signal":    {Lease: time.Hour, Heartbeat: 20 * time.Minute},
		"told by heartbeat": {Lease: 10 * time.Second, Heartbeat: 500 * time.Millisecond, Listen: nowhere},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.Poll, cfg.Workers = 100*time.Millisecond, 2
			testCancel(t, cfg)
		})
	}
}

func testCancel(t *testing.T, cfg queue.Config) {
	const slack = time.Second // For the reaper's period and a busy machine.
	pool := testenv.Pool(t)
	started, stopped := make(chan string, 9), make(chan time.Time, 1)
	ended, late := make(chan error, 9), make(chan error, 1)
	deaf := make(chan struct{})
	queues := replicas(t, pool.Config().ConnString(), cfg, map[string]queue.Handler{
		"polite": work(func(ctx context.Context, _ *queue.Job) error {
			started <- "polite"
			<-ctx.Done()
			stopped <- time.Now()
			return ctx.Err()
		}),
		"deaf": {
			Work: func(ctx context.Context, job *queue.Job) error {
				started <- "deaf"
				<-deaf
				ctx = context.WithoutCancel(ctx)
				late <- pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return job.Finish(ctx, tx) })
				return nil
			},
			OnEnd: func(_ context.Context, _ pgx.Tx, _ *queue.Job, cause error) error {
				ended <- cause
				return nil
			},
		},
		"next": work(func(context.Context, *queue.Job) error {
			started <- "next"
			return nil
		}),
	})
	metrics := make([]*prometheus.Registry, len(queues))
	for i, q := range queues {
		metrics[i] = prometheus.NewPedanticRegistry()
		metrics[i].MustRegister(q.Collectors()...)
		run(t, q)
	}
	goOn := sync.OnceFunc(func() { close(deaf) })
	t.Cleanup(goOn) // Before the queues are stopped.
	out := enqueue(t, pool, queues[0], queue.Insert{Kind: "polite", Key: "p"}, queue.Insert{Kind: "deaf", Key: "d"}, queue.Insert{Kind: "next", Key: "d"})
	for range 2 {
		receive(t, "the jobs to start", started)
	}
	cancelled := time.Now()
	for _, o := range out[:2] {
		if err := queues[2].Cancel(t.Context(), o.ID, "typing error"); err != nil {
			t.Fatal(err)
		}
	}
	if took := receive(t, "the polite one to stop", stopped).Sub(cancelled); took > queue.CancelGrace {
		t.Errorf("stopped after %s", took)
	}
	wantState(t, queues[0], out[0].ID, queue.Cancelled)
	if cause := receive(t, "the end of the deaf one", ended); !errors.Is(cause, queue.ErrCancelled) {
		t.Errorf("told %v", cause)
	}
	if took := time.Since(cancelled); took < queue.CancelGrace || took > queue.CancelGrace+slack {
		t.Errorf("abandoned after %s", took)
	}
	if got := receive(t, "the next of the key", started); got != "next" {
		t.Errorf("%s started", got)
	}
	e := wantState(t, queues[0], out[1].ID, queue.Cancelled)
	if e.Note != "typing error" || len(e.Failures) != 1 {
		t.Errorf("history: %q, %+v", e.Note, e.Failures)
	}
	until(t, "its place is known as stuck", func() bool {
		return slices.ContainsFunc(metrics, func(r *prometheus.Registry) bool {
			return testutil.GatherAndCompare(r, strings.NewReader(stuckOne), "reconciler_queue_stuck_jobs") == nil
		})
	})
	goOn()
	if err := receive(t, "the late write", late); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("the late write gave %v", err)
	}
}

const stuckOne = `
# HELP reconciler_queue_stuck_jobs Handlers here that go on although their job was taken from them. Each takes a place until it returns or the process ends.
# TYPE reconciler_queue_stuck_jobs gauge
reconciler_queue_stuck_jobs 1
`
