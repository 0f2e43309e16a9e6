package queue_test

import (
	stdcmp "cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// replicaCount is how many replicas the promises are tested on.
const replicaCount = 3

// replicas returns queues that share a database and nothing else, each with its own pool. They do not run yet.
func replicas(t testing.TB, url string, cfg queue.Config, handlers map[string]queue.Handler) []*queue.Queue {
	t.Helper()
	queues := make([]*queue.Queue, replicaCount)
	for i := range queues {
		queues[i] = queue.New(open(t, url), cfg)
		for kind, h := range handlers {
			queues[i].Handle(kind, h)
		}
	}
	return queues
}

func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 4, ApplicationName: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// runReplicas runs replicas of a fresh database and returns a pool for the test and one of them.
func runReplicas(t testing.TB, cfg queue.Config, handlers map[string]queue.Handler) (*pgxpool.Pool, *queue.Queue) {
	t.Helper()
	pool := testenv.Pool(t)
	queues := replicas(t, pool.Config().ConnString(), cfg, handlers)
	for _, q := range queues {
		run(t, q)
	}
	return pool, queues[0]
}

// occupancy counts who is on a key at this moment.
type occupancy struct{ keys sync.Map }

// enter fails the test if somebody is on the key already, and returns what leaves it.
func (o *occupancy) enter(t testing.TB, key string) (leave func()) {
	t.Helper()
	at, _ := o.keys.LoadOrStore(key, new(atomic.Int32))
	n := at.(*atomic.Int32)
	if n.Add(1) != 1 {
		t.Errorf("two workers on %s", key)
	}
	return func() { n.Add(-1) }
}

// Whatever ends an attempt, and whatever the kind: done, failed, put off, panicked, cancelled, hastened.
func TestPromiseNoTwoWorkersOnOneKey(t *testing.T) {
	t.Parallel()
	const keys, each = 4, 40
	var busy occupancy
	var calls atomic.Int64
	handler := soon(queue.Handler{MaxAttempts: 3, Work: func(ctx context.Context, job *queue.Job) error {
		defer busy.enter(t, job.Key)()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond): // The work.
		}
		switch n := calls.Add(1); {
		case n%7 == 0:
			return errors.New("broken")
		case n%11 == 0:
			return queue.Snooze(time.Duration(n%20)*time.Millisecond, "later")
		case n%13 == 0:
			panic("poison")
		}
		return nil
	}})
	pool, q := runReplicas(t, quick(), map[string]queue.Handler{"a": handler, "b": handler})
	for n := range each {
		for k := range keys {
			key := fmt.Sprint("key", k)
			id := enqueue(t, pool, q, queue.Insert{Kind: []string{"a", "b"}[n%2], Key: key})[0].ID
			if n%5 == 0 {
				hasten(t, pool, q, "a", key)
			}
			if n%9 == 0 {
				if err := q.Cancel(t.Context(), id, "one of nine"); err != nil {
					wantCode(t, err, fault.JobFinished)
				}
			}
		}
	}
	until(t, "all have ended", func() bool { return live(t, q) == 0 })
}

func TestPromiseJobsOfOneKeyRunOneAfterAnotherFirstInFirstOut(t *testing.T) {
	t.Parallel()
	const keys, each = 5, 30
	var mu sync.Mutex
	order, at, most := map[string][]int{}, 0, 0
	var busy occupancy
	pool, q := runReplicas(t, quick(), map[string]queue.Handler{"k": work(func(_ context.Context, job *queue.Job) error {
		defer busy.enter(t, job.Key)()
		var n int
		if err := job.Bind(&n); err != nil {
			return err
		}
		mu.Lock()
		at++
		most = max(most, at)
		order[job.Key] = append(order[job.Key], n)
		mu.Unlock()
		<-time.After(time.Millisecond) // The work.
		mu.Lock()
		at--
		mu.Unlock()
		return nil
	})})
	want := map[string][]int{}
	for n := range each {
		var inserts []queue.Insert
		for k := range keys {
			key := fmt.Sprint("key", k)
			inserts = append(inserts, queue.Insert{Kind: "k", Key: key, Args: n})
			want[key] = append(want[key], n)
		}
		enqueue(t, pool, q, inserts...)
	}
	until(t, "all are done", func() bool { return live(t, q) == 0 })
	if diff := cmp.Diff(want, order); diff != "" {
		t.Error(diff)
	}
	if most < 2 {
		t.Error("different keys never ran at once")
	}
}

func TestPromiseNewestWins(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Heartbeat = 900 * time.Millisecond // The running job learns of the newer one by notification.
	ran := make(chan int64, 9)
	newer, goOn := make(chan struct{}), make(chan struct{})
	pool, q := runReplicas(t, cfg, map[string]queue.Handler{"run": work(func(_ context.Context, job *queue.Job) error {
		ran <- job.Generation
		if job.Generation > 1 {
			return nil
		}
		<-job.Superseded()
		close(newer)
		<-goOn
		return queue.ErrSuperseded
	})})
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

func TestPromiseASupersededJobNeverRuns(t *testing.T) {
	t.Parallel()
	const keys, each, producers = 3, 60, 3
	var ran sync.Map
	pool, q := runReplicas(t, quick(), map[string]queue.Handler{"run": work(func(_ context.Context, job *queue.Job) error {
		ran.Store(job.ID, true)
		return nil
	})})
	var mu sync.Mutex
	var replaced []int64
	var all sync.WaitGroup
	var generation [keys]atomic.Int64
	for range producers {
		all.Go(func() {
			for n := range each {
				k := n % keys
				out := enqueue(t, pool, q, queue.Insert{Kind: "run", Key: fmt.Sprint("key", k), Generation: generation[k].Add(1)})
				mu.Lock()
				for _, r := range out[0].Replaced {
					replaced = append(replaced, r.ID)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	until(t, "all have ended", func() bool { return live(t, q) == 0 })
	if len(replaced) == 0 {
		t.Error("nothing was superseded: the test shows nothing")
	}
	for _, id := range replaced {
		if _, did := ran.Load(id); did {
			t.Errorf("job %d was superseded and ran", id)
		}
	}
	for k := range keys {
		list, err := q.List(t.Context(), queue.Filter{Key: fmt.Sprint("key", k), States: []queue.State{queue.Done}})
		newest := generation[k].Load()
		if err != nil || !slices.ContainsFunc(list, func(e queue.Entry) bool { return e.Generation == newest }) {
			t.Errorf("generation %d of key %d did not run, %v", newest, k, err)
		}
	}
	t.Logf("%d of %d superseded", len(replaced), producers*each)
}

func TestPromiseAFailedJobIsRetriedByClassAndThenLiesInTheDeadLetterWithItsHistory(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err      error
		attempts int
		code     string
	}{
		"permanent": {fault.New(fault.ScoreSyntax, "no YAML"), 1, "ORC-1001"},
		"refused":   {fault.New(fault.DatabaseNewer, "a person must act"), 1, "ORC-9005"},
		"retryable": {fault.New(fault.DatabaseUnreachable, "later perhaps"), 3, "ORC-9003"},
		"conflict":  {fault.New(fault.JobOutdated, "look again"), 3, "ORC-5007"},
		"no fault":  {errors.New("something with a zero byte \x00 and the word hunter2"), 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := quick()
			cfg.Redact = func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
			var told atomic.Int32
			pool, q := runReplicas(t, cfg, map[string]queue.Handler{"k": soon(queue.Handler{
				MaxAttempts: 3,
				Work:        func(context.Context, *queue.Job) error { return test.err },
				OnEnd: func(ctx context.Context, tx pgx.Tx, job *queue.Job, cause error) error {
					told.Add(1)
					if !errors.Is(cause, test.err) || job.Attempt != test.attempts {
						t.Errorf("told of attempt %d and %v", job.Attempt, cause)
					}
					_, err := tx.Exec(ctx, "CREATE TABLE told ()")
					return err
				},
			})})
			e := wantState(t, q, enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})[0].ID, queue.Dead)
			if len(e.Failures) != test.attempts || e.Attempt != test.attempts {
				t.Fatalf("%d attempts with %d failures, want %d", e.Attempt, len(e.Failures), test.attempts)
			}
			for i, f := range e.Failures {
				if f.Attempt != i+1 || f.Code != test.code || f.Error == "" || f.Worker == "" || f.At.IsZero() || strings.Contains(f.Error, "hunter2") {
					t.Errorf("failure %d is %+v", i, f)
				}
			}
			if told.Load() != 1 {
				t.Errorf("told %d times", told.Load())
			}
		})
	}
}

func TestPromiseAPoisonedKeyDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	handler := queue.Handler{BackoffBase: time.Hour, BackoffCap: time.Hour, Work: func(ctx context.Context, job *queue.Job) error {
		switch job.Key {
		case "panics":
			panic("poison")
		case "fails":
			return errors.New("poison")
		case "hangs":
			<-ctx.Done()
		case "hears nothing":
			<-end
		}
		return nil
	}}
	pool, q := runReplicas(t, quick(), map[string]queue.Handler{"k": handler})
	t.Cleanup(func() { close(end) })
	poisoned := map[string]int64{}
	for _, key := range []string{"panics", "fails", "hangs", "hears nothing"} {
		poisoned[key] = enqueue(t, pool, q, queue.Insert{Kind: "k", Key: key}, queue.Insert{Kind: "k", Key: key})[0].ID
	}
	for n := range 20 {
		began := time.Now()
		id := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: fmt.Sprint("fine", n)})[0].ID
		wantState(t, q, id, queue.Done)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a job beside them took %s", took)
		}
	}
	for key, want := range map[string]struct {
		state queue.State
		code  string
	}{
		"panics": {queue.Ready, string(fault.JobPanicked)}, "fails": {queue.Ready, ""}, "hangs": {queue.Running, ""}, "hears nothing": {queue.Running, ""},
	} {
		e, err := q.Get(t.Context(), poisoned[key])
		if err != nil {
			t.Fatal(err)
		}
		if e.State != want.state || want.state == queue.Ready && (len(e.Failures) != 1 || e.Failures[0].Code != want.code) {
			t.Errorf("the job that %s is %s with %+v", key, e.State, e.Failures)
		}
	}
}

func TestPromiseHighPriorityFirstWithoutStarvingLow(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Workers = 1
	type grant struct {
		token int64
		group string
	}
	var mu sync.Mutex
	var grants []grant
	queues := replicas(t, pool.Config().ConnString(), cfg, map[string]queue.Handler{"k": work(func(_ context.Context, job *queue.Job) error {
		mu.Lock()
		defer mu.Unlock()
		grants = append(grants, grant{job.Token, strings.TrimRight(job.Key, "0123456789")})
		return nil
	})})
	// As many of each group as there are replicas: each takes one of the first group, then one of the next.
	for n := range replicaCount {
		enqueue(t, pool, queues[0],
			queue.Insert{Kind: "k", Key: fmt.Sprint("low", n), Priority: new(int16(queue.LowestPriority))},
			queue.Insert{Kind: "k", Key: fmt.Sprint("default", n)},
			queue.Insert{Kind: "k", Key: fmt.Sprint("high", n), Priority: new(int16(queue.HighestPriority))},
			queue.Insert{Kind: "k", Key: fmt.Sprint("low that waited", n), Priority: new(int16(queue.LowestPriority)), RunAt: time.Now().Add(-5 * time.Minute)})
	}
	for _, q := range queues {
		run(t, q)
	}
	until(t, "all are done", func() bool { return live(t, queues[0]) == 0 })
	slices.SortFunc(grants, func(a, b grant) int { return stdcmp.Compare(a.token, b.token) })
	// Replicas that claim at the same moment may be granted in any order: at most one group is mixed with the next.
	place := map[string]int{"low that waited": 0, "high": 1, "default": 2, "low": 3}
	for i, g := range grants {
		if due := i / replicaCount; place[g.group] > due+1 || place[g.group] < due-1 {
			t.Errorf("%s was granted in place %d of %v", g.group, i, grants)
		}
	}
}

func TestPromiseEnqueuesInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	type args struct{ Repository string }
	got := make(chan args, 9)
	pool, q := runReplicas(t, quick(), map[string]queue.Handler{"k": work(func(_ context.Context, job *queue.Job) error {
		var a args
		err := job.Bind(&a)
		got <- a
		return err
	})})
	rolledBack := errors.New("rolled back")
	var lost int64
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		out, err := q.Enqueue(t.Context(), tx, queue.Insert{Kind: "k", Key: "a", Args: args{"never"}})
		if err != nil {
			return err
		}
		lost = out[0].ID
		return rolledBack
	})
	if !errors.Is(err, rolledBack) {
		t.Fatal(err)
	}
	_, err = q.Get(t.Context(), lost)
	wantCode(t, err, fault.JobNotFound)
	// A zero byte is fine in JSON, but not in PostgreSQL's jsonb.
	id := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a", Args: args{"shop\x00"}})[0].ID
	if diff := cmp.Diff(args{"shop\x00"}, receive(t, "the job", got)); diff != "" {
		t.Error(diff)
	}
	entry := wantState(t, q, id, queue.Done)
	if entry.Attempt != 1 || entry.StartedAt == nil || entry.Worker == "" {
		t.Errorf("history does not tell of the attempt: %+v", entry)
	}
}
