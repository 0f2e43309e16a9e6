package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/queue"
)

// onEnd runs in the transaction that ends a job otherwise than done.
func (r *Runner) onEnd(ctx context.Context, tx pgx.Tx, job *queue.Job, cause error) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	state := Failed
	switch {
	case errors.Is(cause, queue.ErrSuperseded):
		state, cause = Superseded, nil
	case errors.Is(cause, queue.ErrCancelled):
		state, cause = Cancelled, nil
	}
	var why *fault.Fault
	if cause != nil {
		why = r.redacted(fault.Of(cause)[0])
	}
	run, ended, err := r.Runs.end(ctx, tx, args.Run, state, why)
	if err != nil || !ended {
		return err
	}
	if err := r.answer(ctx, tx, run, why); err != nil {
		return err
	}
	if err := r.Changed(ctx, tx, run); err != nil {
		return err
	}
	// Behind all that waits for somebody, or may fail, and is tried again.
	r.metrics.count(run)
	r.Log.Info().Str("environment", run.Environment).Str("application", run.Name).Int64("generation", run.Generation).
		Int64("run", run.ID).Str("state", string(state)).Msg("run ended")
	return nil
}

// answer does what follows from a run that did not succeed: what its steps did is undone first; then, if nothing newer is there,
// what was there before it comes back.
func (r *Runner) answer(ctx context.Context, tx pgx.Tx, run Run, why *fault.Fault) error {
	if err := scheduleUndo(ctx, tx, r.Queue, run, jobKey(run.Application)); err != nil {
		return err
	}
	if run.State == Superseded {
		return scheduleTogether(ctx, tx, r.Queue, run)
	}
	a, err := r.Planner.Lock(ctx, tx, run.Application)
	if err != nil {
		return err
	}
	if a.Generation > run.Generation {
		return scheduleTogether(ctx, tx, r.Queue, run)
	}
	reason := fmt.Sprintf("generation %d was cancelled", run.Generation)
	if run.State == Cancelled && !run.together() {
		return r.holdBack(ctx, tx, a, run, reason)
	}
	if run.State == Failed {
		reason = fmt.Sprintf("generation %d failed: %s", run.Generation, why.Message)
	}
	if err := r.recover(ctx, tx, a, run, reason); err != nil {
		return err
	}
	return scheduleTogether(ctx, tx, r.Queue, run)
}

// recover answers a run that was not deployed: the last good release is applied again, and this one is held back so that
// nothing tries it again by itself. A newer commit is not held back.
func (r *Runner) recover(ctx context.Context, tx pgx.Tx, a planner.Application, run Run, reason string) error {
	if run.Kind == Deploy {
		undone, err := r.undo(ctx, tx, a, run)
		if err != nil {
			return err
		}
		reason += undone
	}
	return r.holdBack(ctx, tx, a, run, reason)
}

// holdBack keeps a release that was not deployed from being tried again by itself. A rollback goes on to hold back what it held
// back: everything, if a person said so, or the release that failed first. Where nothing is held back any more, because the branch
// asks for what the rollback was to bring or somebody lifted the hold, that is held back if the branch asks for it.
func (r *Runner) holdBack(ctx context.Context, tx pgx.Tx, a planner.Application, run Run, reason string) error {
	if a.Hold.HoldsAll() || a.Hold != nil && run.Kind == Rollback {
		hold := *a.Hold
		hold.Reason += "; " + reason
		return r.Planner.SetHold(ctx, tx, a.ID, hold)
	}
	digest, err := r.Planner.Digest(ctx, tx, a.ID, run.Generation)
	if err != nil || run.Kind == Rollback && (a.Asked == nil || *a.Asked != digest) {
		return err
	}
	return r.Planner.SetHold(ctx, tx, a.ID, planner.Hold{By: "reconciler", Digest: planner.HeldDigest(digest), Reason: reason})
}

// undo applies the last good release below a run's again and returns what there is to say of it. What holds data stays.
func (r *Runner) undo(ctx context.Context, tx pgx.Tx, a planner.Application, run Run) (string, error) {
	good, err := r.lastGood(ctx, tx, a, run)
	if err != nil || good == 0 && !run.together() {
		return "", err
	}
	var back Return
	told := fmt.Sprintf("; generation %d is applied again", good)
	if good == 0 {
		told = "; nothing was there before it, and it is taken away"
		back, err = r.nothing(ctx, tx, a)
	} else {
		back, err = r.Back(ctx, tx, a, good)
	}
	if f, ok := fault.As(err); ok && f.Code == fault.NameTaken {
		return fmt.Sprintf("; generation %d is not applied again: %s", good, f.Message), nil
	}
	if err != nil {
		return "", err
	}
	back.Commit = run.Commit
	if back.Plan.Summary.Stateful > 0 {
		told += ", but what holds data stays until somebody confirms that it goes"
	}
	_, err = r.Again(ctx, tx, a, back)
	return told, err
}

// lastGood returns the generation that was there before a run and what came into its deployment together with others, 0 if
// nothing was.
func (r *Runner) lastGood(ctx context.Context, tx pgx.Tx, a planner.Application, run Run) (int64, error) {
	succeeded, err := r.Runs.Succeeded(ctx, tx, a.ID)
	if err != nil {
		return 0, err
	}
	below := run.Generation
	if run.together() {
		if err := tx.QueryRow(ctx, sqlFirstTogether, a.ID, run.Together).Scan(&below); err != nil {
			return 0, fmt.Errorf("read runs that go together: %w", err)
		}
	}
	return r.Planner.LastGood(ctx, tx, a.ID, succeeded, below)
}

// Return is the way back to an earlier release; the zero generation and a nil release are those of nothing.
type Return struct {
	Generation int64
	Release    *planner.Release
	Plan       *planner.Plan
	// Commit is the one that is told of it.
	Commit string
}

// Back plans the return to an earlier release. The caller holds the application's lock.
func (r *Runner) Back(ctx context.Context, tx pgx.Tx, a planner.Application, generation int64) (Return, error) {
	record, err := r.Planner.Record(ctx, tx, a.ID, generation)
	if err != nil {
		return Return{}, err
	}
	if record.Release == nil {
		return Return{}, fault.New(fault.ReleaseUnknown, "generation %d removed the application and cannot be applied again", generation)
	}
	if name := record.Release.Workload; name != a.Name {
		// The application had another name then, and somebody else may have it now.
		other, err := r.Planner.Named(ctx, tx, a.Environment, name)
		if err == nil && other.ID != a.ID {
			return Return{}, fault.New(fault.NameTaken, "generation %d of %s has the name %q, which belongs to %s %s now", generation, a.Name, name, other.Repository, other.Path)
		}
		if f, ok := fault.As(err); err != nil && (!ok || f.Code != fault.AppUnknown) {
			return Return{}, err
		}
	}
	base, err := r.Planner.Base(ctx, tx, a)
	if err != nil {
		return Return{}, err
	}
	if base, err = r.Runs.Base(ctx, tx, a, base); err != nil {
		return Return{}, err
	}
	p := planner.NewPlan(a.Name, a.Environment, "rollback", base, record.Release)
	return Return{Generation: generation, Release: record.Release, Plan: p, Commit: record.Commit}, nil
}

// Again makes an earlier release the newest desired one and schedules its run. The caller holds the application's lock.
func (r *Runner) Again(ctx context.Context, tx pgx.Tx, a planner.Application, back Return) (Run, error) {
	if err := r.Planner.StorePlan(ctx, tx, back.Plan, a.Repository, back.Commit, 0); err != nil {
		return Run{}, err
	}
	record := planner.Record{Application: a.ID, Plan: back.Plan.ID, Commit: back.Commit, Cause: "rollback"}
	if back.Release != nil {
		record.Of = &back.Generation
	}
	if back.Release != nil && a.Name != back.Release.Workload {
		a.Name = back.Release.Workload
		if err := r.Planner.Evaluated(ctx, tx, a); err != nil {
			return Run{}, err
		}
	}
	next, err := r.Planner.NextRelease(ctx, tx, record, back.Release)
	if err != nil {
		return Run{}, err
	}
	run := Run{
		Application: a.ID, Environment: a.Environment, Name: a.Name, Repository: a.Repository, Generation: next,
		Kind: Rollback, State: Queued, Plan: back.Plan.ID, Commit: back.Commit,
	}
	var replaced []Run
	if run.ID, replaced, err = r.Runs.Schedule(ctx, tx, r.Queue, run); err != nil {
		return Run{}, err
	}
	return run, r.Changed(ctx, tx, append(replaced, run)...)
}
