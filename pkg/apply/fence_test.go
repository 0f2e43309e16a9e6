package apply

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// A worker that wakes up after another one took its run over can write nothing at all.
func TestReplacedWorkerWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	run := w.schedule(a, w.build("shop", image("shop:1")+"resources: {db: {type: postgres}}\n"))
	ctx, s := t.Context(), w.runner.Runs
	old, err := w.runner.begin(ctx, run.ID, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	late := &execution{Runner: w.runner, run: old}
	engine, err := late.prepare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first := engine.tree.nodes["deliver"]
	if _, err := w.runner.begin(ctx, run.ID, 11, 1); err != nil {
		t.Fatal(err)
	}
	engine.tree.nodes["retire"].State = graph.Running
	tables := []string{"runs", "steps", "run_logs", "resources", "shared_states", "inventories", "strays", "applications", "artefacts"}
	before := w.dump(tables...)
	refused := map[string]func() error{
		"begin":   func() error { _, err := w.runner.begin(ctx, run.ID, 10, 1); return err },
		"start":   func() error { return engine.start(ctx, first) },
		"save":    func() error { return engine.save(ctx, first) },
		"grow":    func() error { return engine.grow(ctx, first, []*node{first}) },
		"tell":    func() error { return engine.tell(ctx, "a word from the past") },
		"finish":  func() error { return engine.finish(ctx, ended{node: engine.tree.nodes["retire"], err: errInterrupted}) },
		"succeed": func() error { return late.succeed(ctx, &queue.Job{}) },
		"fence":   func() error { return late.fenced(ctx, func(pgx.Tx) error { return nil }) },
		"alive":   func() error { return s.alive(ctx, w.pool, old) },
	}
	for _, step := range late.steps() {
		refused["do "+step.name] = func() error { _, err := step.do(ctx, step.name); return err }
	}
	for name, act := range refused {
		if err := act(); !errors.Is(err, queue.ErrLeaseLost) {
			t.Errorf("%s answers %v", name, err)
		}
	}
	late.log(ctx, "deliver", "a word from the past")
	late.note(ctx, fault.Of(errInterrupted)[0])
	late.leave(ctx, "deliver", "files.txt", "text/plain", []byte("from the past"))
	if diff := cmp.Diff(before, w.dump(tables...)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
	if len(w.target.paths()) > 0 {
		t.Errorf("files were delivered: %v", w.target.paths())
	}
}

func TestEndedRunCannotBeginAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.schedule(w.app("shop"), w.build("shop", image("shop:1")))
	w.tx(func(tx pgx.Tx) error {
		_, _, err := w.runner.Runs.end(t.Context(), tx, run.ID, Cancelled, nil)
		return err
	})
	if _, err := w.runner.begin(t.Context(), run.ID, 99, 1); fault.Of(err)[0].Code != fault.JobFinished {
		t.Errorf("begin answers %v", err)
	}
	w.tx(func(tx pgx.Tx) error {
		again, _, err := w.runner.Runs.end(t.Context(), tx, run.ID, Failed, nil)
		if again.State != Cancelled {
			t.Errorf("the run became %s", again.State)
		}
		return err
	})
}
