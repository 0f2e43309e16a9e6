package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// UndoKind is the kind of the queue's jobs that undo what the steps of a run did that failed or was cancelled. Such a job has
// the key of the run's application and stands before that of the rollback: the next run begins when it has ended.
const UndoKind = "undo"

const (
	// What is undone belongs to a worker as the run did.
	sqlBeginUndo = `UPDATE runs SET token = $2 WHERE id = $1 AND token <= $2 AND state IN ('failed', 'cancelled') RETURNING ` + runColumns
	sqlUndone    = `UPDATE steps SET undone_at = now(), undo_fault = NULL WHERE run = $1 AND name = $2`
	sqlNotUndone = `UPDATE steps SET undo_fault = $3 WHERE run = $1 AND name = $2 AND undone_at IS NULL`
)

// UndoHandler returns what the queue calls for jobs of [UndoKind].
func (r *Runner) UndoHandler() queue.Handler {
	h := r.Handler()
	h.Work, h.OnEnd = r.workUndo, nil
	return h
}

// scheduleUndo has what a run did undone, if a step of it says how.
func (r *Runner) scheduleUndo(ctx context.Context, tx pgx.Tx, run Run) error {
	if run.Paths == nil {
		return nil
	}
	_, err := r.Queue.Enqueue(ctx, tx, queue.Insert{Kind: UndoKind, Key: jobKey(run.Application), Owner: run.Repository, Args: jobArgs{Run: run.ID}})
	return fault.While("enqueue what undoes the run", err)
}

// workUndo undoes the steps that were done, the last one first. One that cannot be undone keeps none of the others from it.
func (r *Runner) workUndo(ctx context.Context, job *queue.Job) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	run, err := oneRun(r.Pool.Query(ctx, sqlBeginUndo, args.Run, job.Token))
	if err != nil {
		return fmt.Errorf("begin to undo run %d: %w", args.Run, err)
	}
	e := &execution{Runner: r, run: run}
	t, err := e.prepare(ctx)
	if err != nil {
		return err
	}
	var failures []error
	for _, n := range t.tree.undoable() {
		if err := t.undoStep(ctx, n); err != nil {
			if ctx.Err() != nil || errors.Is(err, queue.ErrLeaseLost) {
				return err
			}
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// undoable returns the steps that were done and say how they are undone, the last one first.
func (t *tree) undoable() (list []*node) {
	for _, n := range t.nodes {
		if !n.Group && n.State == graph.Succeeded && n.step != nil && n.step.Compensate != nil && n.row.UndoneAt == nil {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *node) int {
		if c := b.row.FinishedAt.Compare(*a.row.FinishedAt); c != 0 {
			return c
		}
		return b.row.Position - a.row.Position
	})
	return list
}

func (e *engine) undoStep(ctx context.Context, n *node) error {
	values, err := e.tree.values(n)
	if err == nil {
		values = values.With("steps."+n.step.ID+".", n.outputs)
		timed, cancel := context.WithTimeout(ctx, n.step.Timeout)
		defer cancel()
		_, err = e.send(timed, n.step.Compensate.HTTP, values, n.Name, "undo")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		why := e.redacted(fault.Of(err)[0])
		e.log(ctx, n.Name, "not undone: %v", why)
		noted := e.fenced(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, sqlNotUndone, e.run.ID, n.Name, why)
			return fault.While("note what is not undone", err)
		})
		return errors.Join(err, noted)
	}
	return e.fenced(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sqlUndone, e.run.ID, n.Name)
		return fault.While("note what is undone", err)
	})
}
