package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

const database = "resources: {db: {type: postgres}}\n"

func TestInterruptedRunGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	var tries atomic.Int32
	w.target.on(func(context.Context, Delivery) error {
		if tries.Add(1) == 1 {
			return errInterrupted
		}
		return nil
	})
	run := w.schedule(a, w.build("shop", image("shop:1")+database))
	w.work()
	if run = w.ended(run); run.State != Succeeded || run.Writes != len(w.target.paths()) {
		t.Errorf("the run is %+v", run)
	}
	steps, err := w.runner.Runs.Steps(t.Context(), w.pool, run.ID)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, s := range steps {
		got = append(got, s.Attempt)
		if s.State != graph.Succeeded || s.Fault != nil {
			t.Errorf("%s is %s", s.Name, s.State)
		}
	}
	if diff := cmp.Diff([]int{1, 2, 1}, got); diff != "" {
		t.Errorf("attempts of provision, deliver, retire: %s", diff)
	}
	if again := w.deployed(a, w.build("shop", image("shop:1")+database)); again.Writes != 0 {
		t.Errorf("the same release wrote %d files", again.Writes)
	}
}

// A run dies after its delivery, and the newer release does not want what it delivered.
func TestFilesOfARunThatDiedAreTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	w.target.on(func(_ context.Context, d Delivery) error {
		if d.Run.Generation == 1 {
			for _, f := range d.Write {
				w.target.mu.Lock()
				w.target.files[f.Path] = string(f.Content)
				w.target.mu.Unlock()
			}
			return fault.New(fault.TargetForeign, "died")
		}
		return nil
	})
	run := w.schedule(a, w.build("shop", image("shop:1")+database))
	w.work()
	w.ended(run)
	w.deployed(a, w.build("shop", image("shop:2")))
	if diff := cmp.Diff([]string{"shop/shop.deployment.apps.yaml"}, w.target.paths()); diff != "" {
		t.Error(diff)
	}
}

func TestNewerReleaseStopsTheRunBetweenSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	began, goOn := make(chan bool), make(chan bool)
	w.target.on(func(ctx context.Context, d Delivery) error {
		if d.Run.Generation == 1 {
			began <- true
			<-goOn
		}
		return nil
	})
	first := w.schedule(a, w.build("shop", image("shop:1")))
	w.work()
	<-began
	second := w.schedule(a, w.build("shop", image("shop:2")))
	third := w.schedule(a, w.build("shop", image("shop:3")))
	var job queue.Entry
	w.until("the worker to know", func() bool {
		list, _ := w.queue.List(t.Context(), queue.Filter{Kind: JobKind, States: []queue.State{queue.Running}})
		if len(list) == 1 {
			job = list[0]
		}
		return job.Generation == 1
	})
	w.until("the first to end", func() bool {
		select {
		case goOn <- true:
		default:
		}
		return w.run(first.ID).State.Final()
	})
	if s := w.ended(third).State; s != Succeeded {
		t.Errorf("the newest is %s", s)
	}
	if s := w.run(second.ID).State; s != Superseded {
		t.Errorf("the waiting one is %s", s)
	}
	// It stops at the safe point if it was told in time, else it succeeds; the newest is what is there in the end.
	if s := w.run(first.ID).State; s != Superseded && s != Succeeded {
		t.Errorf("the running one is %s", s)
	}
	if got := w.application(a.ID); got.Applied != 3 || got.Hold != nil {
		t.Errorf("applied %d, hold %v", got.Applied, got.Hold)
	}
}

// However far a run is when a newer release waits: it begins no step any more, and one that is through has succeeded.
func TestARunThatIsSupersededBeginsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newer := make(chan struct{})
	close(newer)
	run := w.schedule(w.app("shop"), w.build("shop", image("shop:1")+database))
	for token := int64(1); ; token++ {
		e := w.take(run, token)
		e.superseded = newer
		next := e.tree.graph.Next(e.now(), 1, func(*graph.Node) bool { return false })
		err := e.drive(t.Context())
		if len(next) == 0 {
			if err != nil {
				t.Errorf("with all steps done it ends with %v", err)
			}
			return
		}
		if !errors.Is(err, queue.ErrSuperseded) {
			t.Fatalf("before %s it ends with %v", next[0].Name, err)
		}
		for _, s := range w.take(run, token).tree.ordered() {
			if s.Name == next[0].Name && s.row.Attempt > 0 {
				t.Errorf("it began %s", s.Name)
			}
		}
		e = w.take(run, token)
		if err := e.begin(t.Context(), e.tree.nodes[next[0].Name]); err != nil {
			t.Fatal(err)
		}
		end := <-e.ends
		delete(e.busy, end.Name)
		if err := e.finish(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
}

// A run may be stopped in the instant in which a step ends: what is done is written down.
func TestAStepThatIsDoneWhenItsRunStopsIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.schedule(w.app("shop"), w.build("shop", image("shop:1")))
	e := w.take(run, 1)
	next := e.tree.graph.Next(e.now(), 1, func(*graph.Node) bool { return false })
	if err := e.begin(t.Context(), e.tree.nodes[next[0].Name]); err != nil {
		t.Fatal(err)
	}
	end := <-e.ends
	go func() { e.ends <- end }()
	stopped, stop := context.WithCancelCause(t.Context())
	stop(queue.ErrShutdown)
	if err := e.drive(stopped); !errors.Is(err, queue.ErrShutdown) {
		t.Fatalf("it ends with %v", err)
	}
	if state := w.take(run, 1).tree.nodes[end.Name].State; state != graph.Succeeded {
		t.Errorf("%s is %s", end.Name, state)
	}
}

func TestCancelEndsARunThatRunsOrWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	began := make(chan bool, 1)
	w.target.on(func(ctx context.Context, d Delivery) error {
		began <- true
		<-ctx.Done()
		return context.Cause(ctx)
	})
	waiting := w.schedule(w.app("waits"), w.build("waits", image("w:1")))
	w.cancel(waiting)
	if s := w.run(waiting.ID).State; s != Cancelled {
		t.Errorf("the waiting one is %s", s)
	}
	a := w.app("runs")
	running := w.schedule(a, w.build("runs", image("r:1")))
	w.work()
	<-began
	w.cancel(running)
	if s := w.ended(running).State; s != Cancelled {
		t.Errorf("the running one is %s", s)
	}
	// Nothing is undone, and nothing tries it again by itself.
	if a := w.application(a.ID); a.Hold == nil || a.Hold.Digest == "" || a.Generation != 1 {
		t.Errorf("the application is %+v", a)
	}
	if _, err := w.runner.Runs.JobOf(t.Context(), w.queue, running); fault.ClassOf(err) != fault.JobFinished.Entry().Class {
		t.Errorf("the job of an ended run: %v", err)
	}
}

func TestFailedReleaseIsRolledBackAndHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	w.work()
	w.deployed(a, w.build("shop", image("shop:1")))
	good := w.dumpTarget()
	w.refuse("shop:2", fault.TargetForeign)
	bad := w.build("shop", image("shop:2"))
	failed := w.ended(w.schedule(a, bad))
	if failed.State != Failed || failed.Fault == nil || failed.Fault.Code != fault.TargetForeign || failed.Attempt != 1 {
		t.Fatalf("the run is %+v", failed)
	}
	// The hold and the rollback's run are there as soon as the failure is.
	now := w.application(a.ID)
	if now.Generation != 3 || now.Hold == nil || now.Hold.Digest != bad.Digest || !strings.Contains(now.Hold.Reason, "generation 1 is applied again") {
		t.Fatalf("the application is %+v, hold %+v", now, now.Hold)
	}
	undo, err := w.runner.Runs.RunOf(t.Context(), w.pool, a.ID, 3)
	if err != nil {
		t.Fatal(err)
	}
	if undo = w.ended(undo); undo.Kind != Rollback || undo.State != Succeeded || undo.Commit != failed.Commit {
		t.Errorf("the rollback is %+v", undo)
	}
	if diff := cmp.Diff(good, w.dumpTarget()); diff != "" {
		t.Error(diff)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	want := []string{"shop 1 running", "shop 1 succeeded", "shop 2 running", "shop 3 queued", "shop 2 failed", "shop 3 running", "shop 3 succeeded"}
	if diff := cmp.Diff(want, w.told); diff != "" {
		t.Errorf("told: %s", diff)
	}
}

func (w *world) dumpTarget() map[string]string {
	w.target.mu.Lock()
	defer w.target.mu.Unlock()
	out := map[string]string{}
	for k, v := range w.target.files {
		out[k] = v
	}
	return out
}

// The workers of a night with many restarts are not what the target may fail.
func TestAttemptsThatWereBrokenOffAreNoFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.schedule(w.app("shop"), w.build("shop", image("shop:1")))
	e := w.take(run, 1)
	if _, err := w.pool.Exec(t.Context(), `UPDATE steps SET attempt = 10, state = 'running' WHERE run = $1 AND name = $2`, run.ID, e.tree.ordered()[0].Name); err != nil {
		t.Fatal(err)
	}
	fails := 2
	w.target.on(func(context.Context, Delivery) error {
		if fails--; fails >= 0 {
			return fault.New(fault.TargetRejected, "not now")
		}
		return nil
	})
	w.work()
	if run = w.ended(run); run.State != Succeeded {
		t.Errorf("the run is %+v", run)
	}
}

// While an installation is upgraded, a worker of the version before may be the one whose attempt failed, or that goes on where a
// step had failed for good here: to it a step that failed is one whose attempt did, and the next attempt of the run does it again.
func TestStepsThatThePreviousVersionLeftAreTriedAgain(t *testing.T) {
	t.Parallel()
	const eof = `{"code": "ORC-2001", "message": "EOF"}`
	noted := func(attempt int) string {
		return fmt.Sprintf(`[{"attempt": %d, "at": "2026-01-01T00:00:00Z", "code": "ORC-2001", "error": "EOF"}]`, attempt)
	}
	for name, c := range map[string]struct {
		deliver, failures, retire string
		want                      State
	}{
		"an attempt failed there":                 {"failed", `[]`, "waiting", Succeeded},
		"one failed here and one there":           {"failed", noted(1), "waiting", Succeeded},
		"it failed here and was begun there":      {"running", noted(1), "cancelled", Succeeded},
		"it failed here, and once more there":     {"failed", noted(1), "cancelled", Succeeded},
		"it failed here, and the worker was gone": {"failed", noted(2), "cancelled", Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run := w.schedule(w.app("shop"), w.build("shop", image("shop:1")))
			w.take(run, 1)
			if _, err := w.pool.Exec(t.Context(), `UPDATE steps SET attempt = 2, state = $2, failures = $3, finished_at = now(), fault = $4
WHERE run = $1 AND name = 'deliver'`, run.ID, c.deliver, c.failures, eof); err != nil {
				t.Fatal(err)
			}
			if _, err := w.pool.Exec(t.Context(), `UPDATE steps SET state = $2 WHERE run = $1 AND name = 'retire'`, run.ID, c.retire); err != nil {
				t.Fatal(err)
			}
			w.work()
			if run = w.ended(run); run.State != c.want {
				t.Errorf("the run is %+v", run)
			}
		})
	}
}

func TestRetryableFailureIsTriedToTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refuse("shop:1", fault.TargetRejected)
	a := w.app("shop")
	run := w.schedule(a, w.build("shop", image("shop:1")))
	w.work()
	if run = w.ended(run); run.State != Failed {
		t.Errorf("the run is %+v", run)
	}
	steps, err := w.runner.Runs.Steps(t.Context(), w.pool, run.ID)
	if err != nil || steps[0].Attempt != 3 || len(steps[0].Failures) != 3 || steps[0].Failures[2].Code != string(fault.TargetRejected) {
		t.Errorf("the step is %+v, %v", steps[0], err)
	}
	// There is nothing to go back to.
	if now := w.application(a.ID); now.Generation != 1 || now.Hold == nil || now.Hold.Digest == "" {
		t.Errorf("the application is %+v", now)
	}
}

func TestFailureWithANewerReleaseIsNotRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	run := w.schedule(a, w.build("shop", image("shop:1")))
	w.tx(func(tx pgx.Tx) error { _, err := w.runner.Runs.begin(t.Context(), tx, run.ID, 1, 1); return err })
	w.schedule(a, w.build("shop", image("shop:2")))
	w.tx(func(tx pgx.Tx) error {
		// The queue ends the job although the newer one waits.
		return w.runner.onEnd(t.Context(), tx, &queue.Job{Args: []byte(`{"run": ` + itoa(run.ID) + `}`)}, fault.New(fault.TargetForeign, "no"))
	})
	if now := w.application(a.ID); now.Hold != nil || now.Generation != 2 {
		t.Errorf("the application is %+v", now)
	}
}

func TestFailedRollbackIsNotRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	w.work()
	w.deployed(a, w.build("shop", image("shop:1")))
	w.target.on(func(context.Context, Delivery) error { return fault.New(fault.TargetForeign, "full") })
	w.ended(w.schedule(a, w.build("shop", image("shop:2"))))
	undo, err := w.runner.Runs.RunOf(t.Context(), w.pool, a.ID, 3)
	if err != nil {
		t.Fatal(err)
	}
	if undo = w.ended(undo); undo.State != Failed {
		t.Errorf("the rollback is %s", undo.State)
	}
	if now := w.application(a.ID); now.Generation != 3 || now.Hold == nil {
		t.Errorf("the application is %+v", now)
	}
}

// Who cancels a rollback does not ask for what failed: that stays held back.
func TestACancelledRollbackKeepsBackWhatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	w.work()
	w.deployed(a, w.build("shop", image("shop:1")))
	began := make(chan bool, 1)
	w.target.on(func(ctx context.Context, d Delivery) error {
		if d.Run.Kind == Deploy {
			return fault.New(fault.TargetForeign, "full")
		}
		began <- true
		<-ctx.Done()
		return context.Cause(ctx)
	})
	bad := w.build("shop", image("shop:2"))
	w.ended(w.schedule(a, bad))
	<-began
	undo, err := w.runner.Runs.RunOf(t.Context(), w.pool, a.ID, 3)
	if err != nil {
		t.Fatal(err)
	}
	w.cancel(undo)
	if undo = w.ended(undo); undo.State != Cancelled {
		t.Errorf("the rollback is %s", undo.State)
	}
	now := w.application(a.ID)
	if !now.Hold.Holds(bad.Digest) || now.Hold.HoldsAll() || !strings.Contains(now.Hold.Reason, "full") || !strings.Contains(now.Hold.Reason, "generation 3 was cancelled") {
		t.Errorf("the application is %+v, hold %+v", now, now.Hold)
	}
}

// A removal that failed must not hold back the commit that brings the application back.
func TestFailedRemovalHoldsNoRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	w.work()
	r := w.build("shop", image("shop:1"))
	w.deployed(a, r)
	w.target.on(func(context.Context, Delivery) error { return fault.New(fault.TargetForeign, "full") })
	if run := w.ended(w.schedule(a, nil)); run.State != Failed {
		t.Errorf("the removal is %s", run.State)
	}
	now := w.application(a.ID)
	if now.Generation != 2 || now.RemovedAt != nil || now.Hold == nil || now.Hold.Holds(r.Digest) {
		t.Errorf("the application is %+v, hold %+v", now, now.Hold)
	}
	w.target.on(nil)
	w.deployed(a, nil)
	if now := w.application(a.ID); now.RemovedAt == nil || len(w.target.paths()) > 0 {
		t.Errorf("the application is %+v with %v", now, w.target.paths())
	}
}

// A run that waits until another one has delivered what is shared makes way for a newer release of its application.
func TestASupersededRunDoesNotWaitForSharedObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sharedProvisioner)
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ours bool
	if err := tx.QueryRow(t.Context(), sqlLockShared, "production").Scan(&ours); err != nil || !ours {
		t.Fatal(ours, err)
	}
	a, shared := w.app("shop"), "resources: {all: {type: common, id: all}}\n"
	old := w.schedule(a, w.build("shop", image("a:1")+shared))
	w.work()
	w.until("it to wait", func() bool { return slices.Contains(w.states(old), "deliver running") })
	fix := w.schedule(a, w.build("shop", image("a:2")+shared))
	if old = w.ended(old); old.State != Superseded {
		t.Errorf("the older run is %s", old.State)
	}
	w.until("the newer one to wait", func() bool { return slices.Contains(w.states(fix), "deliver running") })
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fix = w.ended(fix); fix.State != Succeeded {
		t.Errorf("the newer run is %s", fix.State)
	}
}

// Each delivery of shared objects needs one connection, however many wait for their turn.
func TestSharedDeliveriesDoNotExhaustThePool(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sharedProvisioner)
	small := w.pool.Config()
	small.MaxConns = 2
	pool, err := pgxpoolNew(t, small)
	if err != nil {
		t.Fatal(err)
	}
	w.runner.Pool = pool
	var runs []Run
	for _, name := range []string{"one", "two", "three", "four"} {
		runs = append(runs, w.schedule(w.app(name), w.build(name, image("a:1")+"resources: {all: {type: common, id: all}, room: {type: room}}\n")))
	}
	w.work()
	for _, run := range runs {
		if run = w.ended(run); run.State != Succeeded || run.Attempt != 1 {
			t.Errorf("%s is %s after %d attempts", run.Name, run.State, run.Attempt)
		}
	}
	_, shared, err := w.runner.Runs.Stored(t.Context(), w.pool, "production")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"rooms": map[string]any{"one": "taken", "two": "taken", "three": "taken", "four": "taken"}}
	if diff := cmp.Diff(want, shared); diff != "" {
		t.Errorf("the shared state: %s", diff)
	}
	if !slices.Contains(w.target.paths(), "_shared/common.configmap.yaml") {
		t.Errorf("there are %v", w.target.paths())
	}
}

// A clock that was set back makes nothing wait until it is where it was.
func TestAStepIsPutOffForAsLongAsWasMeantWhateverTheClockDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), `
slow
steps:
  - {id: pause, wait: 1s}
  - {id: release, uses: release, needs: [pause]}`)
	parked := func(token int64) time.Duration {
		t.Helper()
		e := w.take(run, token)
		e.superseded = make(chan struct{})
		if err := e.drive(t.Context()); err == nil {
			t.Fatal("the step was not put off")
		}
		return time.Until(*w.take(run, token).tree.nodes["pause"].row.Until)
	}
	if wait := parked(1); wait > time.Second {
		t.Fatalf("put off for %s", wait)
	}
	if _, err := w.pool.Exec(t.Context(), `UPDATE steps SET until = until + interval '1 hour', parked_at = parked_at + interval '1 hour' WHERE name = 'pause'`); err != nil {
		t.Fatal(err)
	}
	if wait := parked(2); wait > time.Second {
		t.Fatalf("put off for %s after the clock was set back", wait)
	}
	// It may be set back while a turn goes on, too, which has asked for the time when it began.
	if _, err := w.pool.Exec(t.Context(), `UPDATE steps SET state = 'waiting', until = NULL, parked_at = NULL WHERE name = 'pause'`); err != nil {
		t.Fatal(err)
	}
	e := w.take(run, 3)
	e.superseded, e.ahead = make(chan struct{}), e.ahead+time.Hour
	if err := e.drive(t.Context()); err == nil {
		t.Fatal("the step was not put off")
	}
	if wait := parked(4); wait > time.Second {
		t.Fatalf("put off for %s after the clock was set back in the middle of a turn", wait)
	}
	testenv.Until(t, "the time of the step", func() bool {
		e := w.take(run, 5)
		e.superseded = make(chan struct{})
		return e.drive(t.Context()) == nil
	}, func() string { return "it waits still" })
}

// A target that panics leaves no lane shut behind it.
func TestADeliveryThatPanicsGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runner.Retry.Attempts = LaneWidth + 3
	var tries atomic.Int32
	w.target.on(func(context.Context, Delivery) error {
		if tries.Add(1) <= LaneWidth+1 {
			panic("target")
		}
		return nil
	})
	w.work()
	w.deployed(w.app("shop"), w.build("shop", image("shop:1")+"resources: {db: {type: postgres, id: common}}\n"))
}
