package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	sqlBeginUndo = `UPDATE runs SET token = $2 WHERE id = $1 AND token <= $2 AND state IN ('failed', 'cancelled', 'superseded') RETURNING ` + runColumns
	sqlUndone    = `UPDATE steps SET undone_at = now(), undo_fault = NULL WHERE run = $1 AND name = $2`
	sqlNotUndone = `UPDATE steps SET undo_fault = $3 WHERE run = $1 AND name = $2 AND undone_at IS NULL`
)

// undoTime is how long undoing may keep the next run of the application waiting, which may be the fix. What is not undone by
// then is undone beside it.
const undoTime = 20 * time.Second

// UndoHandler returns what the queue calls for jobs of [UndoKind].
func (r *Runner) UndoHandler() queue.Handler {
	h := r.Handler()
	h.Work, h.OnEnd = r.workUndo, nil
	return h
}

// scheduleUndo has what a run did undone, if a step of it may say how.
func scheduleUndo(ctx context.Context, tx pgx.Tx, q Enqueuer, run Run, key string) error {
	if run.Paths == nil {
		return nil
	}
	_, err := q.Enqueue(ctx, tx, queue.Insert{Kind: UndoKind, Key: key, Owner: run.Repository, Args: jobArgs{Run: run.ID}})
	return fault.While("enqueue what undoes the run", err)
}

// workUndo undoes what steps did, the last one first. One that cannot be undone keeps none of the others from it.
func (r *Runner) workUndo(ctx context.Context, job *queue.Job) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	run, err := oneRun(r.Pool.Query(ctx, sqlBeginUndo, args.Run, job.Token))
	if err != nil {
		return fmt.Errorf("begin to undo run %d: %w", args.Run, err)
	}
	t, err := (&execution{Runner: r, run: run}).prepare(ctx)
	if err != nil {
		return err
	}
	first := job.Key == jobKey(run.Application)
	limit := ctx
	if first {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, undoTime)
		defer cancel()
	}
	failure := t.undoAll(limit)
	if failure == nil || !first || ctx.Err() != nil || fault.ClassOf(failure) != fault.Retryable {
		return failure
	}
	return pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		if err := scheduleUndo(ctx, tx, r.Queue, run, fmt.Sprintf("undo/%d", run.ID)); err != nil {
			return err
		}
		return job.Finish(ctx, tx)
	})
}

// undoAll undoes what is to be undone, and returns the failure that matters: one that may be gone the next time, if there is
// one.
func (e *engine) undoAll(ctx context.Context) (failure error) {
	for _, n := range e.tree.undoable() {
		err := e.undoStep(ctx, n)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return fault.New(fault.StepTimedOut, "not everything of run %d is undone yet: %w", e.run.ID, err)
		case errors.Is(err, queue.ErrLeaseLost):
			return err
		case failure == nil || fault.ClassOf(err) == fault.Retryable:
			failure = err
		}
	}
	return failure
}

// undoable returns the steps that may have had an effect and say how it is undone, the last one first.
func (t *tree) undoable() (list []*node) {
	for _, n := range t.nodes {
		if !n.Group && n.step != nil && n.step.Compensate != nil && n.row.UndoneAt == nil && n.acted() {
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

// acted says whether a step may have had an effect: it was done, or it began and nobody said that it was refused.
func (n *node) acted() bool {
	switch n.State {
	case graph.Succeeded:
		return true
	case graph.Failed, graph.Cancelled:
		refused := n.row.Fault != nil && (n.row.Fault.Code == fault.RequestRefused || n.row.Fault.Code == fault.PathValue)
		return n.row.Attempt > 0 && n.row.FinishedAt != nil && !refused
	default:
		return false
	}
}

func (e *engine) undoStep(ctx context.Context, n *node) error {
	values, err := e.tree.values(n)
	if err == nil {
		outputs := n.outputs
		if outputs == nil {
			outputs = e.tree.paths.Nothing(n.step) // what it gave is not known
		}
		values = values.With("steps."+n.step.ID+".", outputs)
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
