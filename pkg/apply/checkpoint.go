package apply

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
)

// load makes the tree of a run: of its stored steps, or the first ones, which are stored.
func (e *execution) load(ctx context.Context) (*engine, error) {
	t := &tree{graph: graph.New(), nodes: map[string]*node{}, steps: e.steps()}
	eng := &engine{execution: e, tree: t, busy: map[string]context.CancelCauseFunc{}, ends: make(chan ended), noted: time.Now()}
	t.actor = eng.actor
	if err := e.followPath(ctx, t); err != nil {
		return nil, err
	}
	rows, err := e.Runs.opened(ctx, e.Pool, e.run.ID)
	if err != nil {
		return nil, err
	}
	if e.run.Paths == nil && !e.run.State.Final() {
		forgive(rows)
	}
	if late := inTime(rows, e.now()); len(late) > 0 && !e.run.State.Final() {
		if err := e.fenced(ctx, func(tx pgx.Tx) error { return e.Runs.parkAgain(ctx, tx, e.run.ID, late, e.now()) }); err != nil {
			return nil, err
		}
	}
	for _, row := range rows {
		if row.State == graph.Parked && row.AskedAt != nil {
			row.Until = nil // people may have answered: it looks at once
		}
		n, err := t.add(row)
		if err != nil {
			return nil, fmt.Errorf("read the steps of run %d: %w", e.run.ID, err)
		}
		eng.hide(n)
	}
	if len(rows) > 0 || e.run.State.Final() {
		return eng, nil
	}
	first, err := t.plant()
	if err != nil {
		return nil, err
	}
	return eng, e.fenced(ctx, func(tx pgx.Tx) error { return e.Runs.addSteps(ctx, tx, e.run.ID, first) })
}

// followPath gives the tree the golden path that the run began with.
func (e *execution) followPath(ctx context.Context, t *tree) error {
	if e.run.Paths == nil {
		return nil
	}
	set, path, err := e.path(ctx, e.Pool, e.run)
	if err != nil {
		return err
	}
	plan, err := e.Planner.Plan(ctx, e.Pool, e.run.Plan)
	if err != nil {
		return err
	}
	counts := plan.Plan.Summary
	t.paths, t.root = set, &scope{path: path}
	t.about = golden.Values{
		"application": e.run.Name, "environment": e.run.Environment, "repository": e.run.Repository, "commit": e.run.Commit,
		"generation": e.run.Generation, "plan.create": int64(counts.Create), "plan.update": int64(counts.Update),
		"plan.replace": int64(counts.Replace), "plan.delete": int64(counts.Delete), "plan.stateful": int64(counts.Stateful),
	}
	return nil
}

// actor returns what does a step of a golden path: one line for each kind.
func (e *engine) actor(s *golden.Step) func(context.Context, *node) (result, error) {
	switch {
	case s.HTTP != nil:
		return e.request
	case s.Approval != nil:
		return e.approve
	default:
		return e.wait
	}
}

// start notes that a step is at work, unless people want the run to wait.
func (e *engine) start(ctx context.Context, n *node) error {
	err := pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) (err error) {
		if e.paused, err = e.stopped(ctx, tx); err != nil || e.paused != "" {
			return err
		}
		return fault.While("start step", tx.QueryRow(ctx, sqlStartStep, e.run.ID, n.Name).Scan(&n.row.Attempt))
	})
	if err != nil || e.paused != "" {
		return err
	}
	n.row.Fault = nil
	return e.tree.graph.Set(n.Node, graph.Running)
}

// save stores how steps stand.
func (e *engine) save(ctx context.Context, list ...*node) error {
	return e.fenced(ctx, func(tx pgx.Tx) error {
		for _, n := range list {
			if err := e.Runs.saveStep(ctx, tx, e.run.ID, n, e.now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// grow stores how a step stands together with the steps that stand for it.
func (e *engine) grow(ctx context.Context, n *node, added []*node) error {
	return e.fenced(ctx, func(tx pgx.Tx) error {
		if err := e.Runs.addSteps(ctx, tx, e.run.ID, added); err != nil {
			return err
		}
		return e.Runs.saveStep(ctx, tx, e.run.ID, n, e.now())
	})
}

// waits says what the run waits for that is more than time.
func (e *engine) waits() string {
	var list []string
	for _, n := range e.tree.nodes {
		if n.State == graph.Parked && n.row.waits != "" {
			list = append(list, n.Name+": "+n.row.waits)
		}
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// asking says whether people, or other runs, are still asked something. A delivery that waits for its turn asks nobody.
func (e *engine) asking() bool {
	for _, n := range e.tree.nodes {
		if n.row.AskedAt != nil && !n.State.Final() && (n.step != nil || path.Base(n.Name) == meetStep) {
			return true
		}
	}
	return false
}

// tell tells people what the run waits for, if that is something else than before.
func (e *engine) tell(ctx context.Context, waits string) error {
	waits = e.Redactor.Redact(waits)
	if waits == e.run.Waits {
		return nil
	}
	e.run.Waits = waits
	return pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if err := e.change(ctx, tx, sqlWaits, waits); err != nil {
			return err
		}
		return e.Changed(ctx, tx, e.run)
	})
}

// fenced runs f in a transaction that nobody but the run's worker can have.
func (e *execution) fenced(ctx context.Context, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if err := e.Runs.fence(ctx, tx, e.run); err != nil {
			return err
		}
		return f(tx)
	})
}

// stopped is the fence, and says who wants nothing new to begin, "" for nobody. A hold that a person set stops a deployment
// that has begun, too; rollbacks are what people do while they hold it.
func (e *execution) stopped(ctx context.Context, tx pgx.Tx) (why string, err error) {
	if err := e.Runs.fence(ctx, tx, e.run); err != nil {
		return "", err
	}
	var by string
	err = tx.QueryRow(ctx, sqlPausedBy, e.run.ID).Scan(&by)
	if err == nil {
		return "paused by " + by, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("ask whether the run is paused: %w", err)
	}
	a, err := e.Planner.Application(ctx, tx, e.run.Application)
	if err == nil && a.Hold.HoldsAll() && e.run.Kind != Rollback {
		why = fmt.Sprintf("held by %s: %s", a.Hold.By, a.Hold.Reason)
	}
	return why, err
}
