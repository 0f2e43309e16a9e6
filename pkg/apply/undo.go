package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// UndoKind is the kind of the queue's jobs that undo what the steps of a run did that did not succeed. Such a job has the key of
// the run's application and stands before that of the next run, which begins when it has ended.
const UndoKind = "undo"

const (
	// What is undone belongs to a worker as the run did; what could not be undone before is tried anew.
	sqlBeginUndo = `WITH mine AS (UPDATE runs SET token = $2 WHERE id = $1 AND token <= $2 AND state IN ('failed', 'cancelled', 'superseded') RETURNING *),
cleared AS (UPDATE steps SET undo_fault = NULL FROM mine WHERE run = mine.id AND undone_at IS NULL)
SELECT ` + runColumns + ` FROM mine`
	// Runs that may still do something when a newer one is scheduled.
	sqlUnderWayBefore = `SELECT ` + runColumns + ` FROM runs
WHERE application = $1 AND generation < $2 AND state IN ('queued', 'running') AND paths IS NOT NULL ORDER BY generation`
	sqlUndone    = `UPDATE steps SET undone_at = now(), undo_fault = NULL WHERE run = $1 AND name = $2 RETURNING undone_at`
	sqlNotUndone = `UPDATE steps SET undo_fault = $3 WHERE run = $1 AND name = $2 AND undone_at IS NULL`
	// What stopped before it came to any step: which of them say how they are undone may not be known.
	sqlNothingUndone = `UPDATE steps SET undo_fault = $2 WHERE run = $1 AND id <> '' AND attempt > 0 AND undone_at IS NULL
AND NOT EXISTS (SELECT FROM steps WHERE run = $1 AND (undone_at IS NOT NULL OR undo_fault IS NOT NULL))`
	// First what is the reason of the others.
	sqlStepsNotUndone = `SELECT name, undo_fault FROM steps WHERE run = $1 AND undone_at IS NULL AND undo_fault IS NOT NULL
ORDER BY undo_fault->>'code' = $2, position`
)

const (
	// undoTime is how long undoing may keep the next run of the application waiting, which may be the fix. What is not undone
	// by then is undone beside it.
	undoTime = 20 * time.Second
	// undoWait is the first wait before another attempt within that time, and undoLimit the longest.
	undoWait, undoLimit = 200 * time.Millisecond, 2 * time.Second
)

// UndoHandler returns what the queue calls for jobs of [UndoKind].
func (r *Runner) UndoHandler() queue.Handler {
	h := r.Handler()
	h.Work, h.OnEnd = r.workUndo, r.undoEnded
	return h
}

// scheduleUndo has what a run did undone, if a step of it may say how.
func scheduleUndo(ctx context.Context, tx pgx.Tx, q Enqueuer, run Run, key string) error {
	if run.Paths == nil {
		return nil
	}
	_, err := q.Enqueue(ctx, tx, queue.Insert{Kind: UndoKind, Key: key, Owner: run.Repository, Dedupe: fmt.Sprint(run.ID), Args: jobArgs{Run: run.ID}})
	return fault.While("enqueue what undoes the run", err)
}

// undoBefore has what runs did undone that are under way when another one is scheduled, before that one begins. One that
// succeeds after all is left alone.
func undoBefore(ctx context.Context, tx pgx.Tx, q Enqueuer, next Run) error {
	list, err := postgres.Collect[Run](tx.Query(ctx, sqlUnderWayBefore, next.Application, next.Generation))
	if err != nil {
		return fmt.Errorf("read the runs before: %w", err)
	}
	for _, run := range list {
		if err := scheduleUndo(ctx, tx, q, run, jobKey(run.Application)); err != nil {
			return err
		}
	}
	return nil
}

// workUndo undoes what steps did.
func (r *Runner) workUndo(ctx context.Context, job *queue.Job) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	runs, err := postgres.Collect[Run](r.Pool.Query(ctx, sqlBeginUndo, args.Run, job.Token))
	if err != nil {
		return fmt.Errorf("begin to undo run %d: %w", args.Run, err)
	}
	if len(runs) == 0 {
		return nil // it succeeded, although something newer was there
	}
	run := runs[0]
	t, err := (&execution{Runner: r, run: run}).prepare(ctx)
	first := job.Key == jobKey(run.Application)
	switch {
	case err != nil:
	case first:
		err = t.undoAtOnce(ctx)
	default:
		err = t.undoAll(ctx, job.Attempt == job.MaxAttempts)
	}
	beside := err != nil && first && ctx.Err() == nil && fault.ClassOf(err) == fault.Retryable
	if err != nil && !beside {
		return err
	}
	return pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		key := besideKey(run)
		if err := r.Queue.Lock(ctx, tx, jobKey(run.Application), key); err != nil {
			return err
		}
		if beside {
			err = scheduleUndo(ctx, tx, r.Queue, run, key)
		} else {
			err = r.Changed(ctx, tx, run)
		}
		if err != nil {
			return err
		}
		return job.Finish(ctx, tx)
	})
}

// besideKey is the key of a job that undoes what could not be undone before the next run.
func besideKey(run Run) string { return fmt.Sprintf("undo/%d", run.ID) }

// undoAtOnce undoes what is to be undone while the next run of the application waits.
func (e *engine) undoAtOnce(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, undoTime)
	defer cancel()
	var failure error
	attempt := func() error {
		failure = e.undoAll(limit, false)
		if failure != nil && (fault.ClassOf(failure) != fault.Retryable || errors.Is(failure, queue.ErrLeaseLost)) {
			return backoff.Permanent(failure)
		}
		return failure
	}
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(undoWait), backoff.WithMaxInterval(undoLimit), backoff.WithMaxElapsedTime(0))
	_ = backoff.Retry(attempt, backoff.WithContext(wait, limit)) // the last failure says more than that the time is over
	return failure
}

// undoEnded tells that what a run did is not undone, and will not be by itself.
func (r *Runner) undoEnded(ctx context.Context, tx pgx.Tx, job *queue.Job, cause error) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlNothingUndone, args.Run, r.redacted(fault.Of(cause)[0])); err != nil {
		return fmt.Errorf("note that nothing is undone: %w", err)
	}
	run, err := r.Runs.Run(ctx, tx, args.Run)
	if err != nil {
		return err
	}
	return r.Changed(ctx, tx, run)
}

// NotUndone says what a run did that could not be undone yet, or nil.
func (s *Store) NotUndone(ctx context.Context, db postgres.Querier, run int64) (*fault.Fault, error) {
	rows, err := db.Query(ctx, sqlStepsNotUndone, run, fault.NotUndone)
	if err != nil {
		return nil, fmt.Errorf("read what is not undone: %w", err)
	}
	var name string
	var why fault.Fault
	var told []string
	_, err = pgx.ForEachRow(rows, []any{&name, &why}, func() error {
		told = append(told, fmt.Sprintf("step %s of run %d is not undone: %s", name, run, why.Message))
		return nil
	})
	if err != nil || len(told) == 0 {
		return nil, fault.While("read what is not undone", err)
	}
	f := fault.New(fault.NotUndone, "%s", told[0])
	if more := len(told) - 1; more > 0 {
		f.Message += fmt.Sprintf(" (and %d more)", more)
	}
	return f, nil
}

// undoAll undoes what is to be undone, and returns the failure that matters: one that may be gone the next time, if there is
// one. What needs a step is undone before it; only what can never be undone, or not the last time either, keeps nothing from it.
func (e *engine) undoAll(ctx context.Context, last bool) (failure error) {
	waits := map[string]*node{}
	for _, n := range e.tree.undoable() {
		var err error
		if after := e.tree.within(n, waits); after != nil {
			err = e.notUndone(ctx, n, fault.New(fault.NotUndone, "it is undone after step %s", after.Name))
		} else if err = e.undoStep(ctx, n); err != nil && fault.ClassOf(err) == fault.Retryable && !last {
			e.tree.needed(n, n, waits)
		}
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

// undoable returns the steps that may have had an effect and say how it is undone, each behind those that need it. No clock
// says which was first: it may have been set back.
func (t *tree) undoable() (list []*node) {
	for _, n := range t.ordered() {
		if !n.Group && n.step != nil && n.step.Compensate != nil && n.row.UndoneAt == nil && n.row.FinishedAt != nil && n.acted() {
			list = append(list, n)
		}
	}
	slices.Reverse(list)
	return list
}

// notDone are the failures of requests that were refused, or not sent.
var notDone = []fault.Code{fault.RequestRefused, fault.PathValue, fault.SecretMissing}

// acted says whether a step may have had an effect: it was done, or one of its requests was sent of which nobody said that it
// was refused. Attempts that were broken off have left no failure.
func (n *node) acted() bool {
	if n.State == graph.Succeeded {
		return true
	}
	if n.step.HTTP == nil || n.State != graph.Failed && n.State != graph.Cancelled {
		return false
	}
	harmless := 0
	for _, f := range n.row.Failures {
		if slices.Contains(notDone, fault.Code(f.Code)) {
			harmless++
		}
	}
	return n.row.Attempt > harmless
}

// undoStep undoes a step. One whose answer did not come is done once more, with the same key, where only its answer says what is
// to be undone.
func (e *engine) undoStep(ctx context.Context, n *node) error {
	values, err := e.tree.values(n)
	if err == nil && n.outputs == nil && n.step.Compensate.NeedsOutputs() {
		err = e.learn(ctx, n, values)
		if f, ok := fault.As(err); ok && f.Code == fault.RequestRefused {
			e.log(ctx, n.Name, "nothing to undo: %v", f)
			return e.undone(ctx, n)
		}
	}
	if err == nil {
		outputs := n.outputs
		if outputs == nil {
			outputs = e.tree.paths.Nothing(n.step) // nothing refers to it
		}
		timed, cancel := context.WithTimeout(ctx, n.step.Timeout)
		defer cancel()
		_, err = e.send(timed, n.step.Compensate.HTTP, values.With("steps."+n.step.ID+".", outputs), n.Name, "undo")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return errors.Join(err, e.notUndone(ctx, n, fault.Of(err)[0]))
	}
	return e.undone(ctx, n)
}

// notUndone notes why a step is not undone yet.
func (e *engine) notUndone(ctx context.Context, n *node, why *fault.Fault) error {
	why = e.redacted(why)
	e.log(ctx, n.Name, "not undone: %v", why)
	return e.fenced(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sqlNotUndone, e.run.ID, n.Name, why)
		return fault.While("note what is not undone", err)
	})
}

// learn does a step again to know what it gave.
func (e *engine) learn(ctx context.Context, n *node, values golden.Values) error {
	timed, cancel := context.WithTimeout(ctx, n.step.Timeout)
	defer cancel()
	answer, err := e.send(timed, n.step.HTTP, values, n.Name, "do")
	if err == nil {
		n.outputs, err = results(n, values, answer)
		e.hide(n)
	}
	return err
}

// undone notes that a step is undone.
func (e *engine) undone(ctx context.Context, n *node) error {
	return e.fenced(ctx, func(tx pgx.Tx) error {
		return fault.While("note what is undone", tx.QueryRow(ctx, sqlUndone, e.run.ID, n.Name).Scan(&n.row.UndoneAt))
	})
}
