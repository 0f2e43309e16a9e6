package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/status"
)

// branch evaluates the commit that a branch is at, and makes it the desired state.
func (r *Reconciler) branch(ctx context.Context, job *queue.Job) error {
	var args branchArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	repo, err := gitwatch.Get(ctx, r.Pool, args.Repository)
	if err != nil {
		return err
	}
	ref, found, err := gitwatch.GetRef(ctx, r.Pool, args.Repository, args.Branch)
	if err != nil {
		return err
	}
	if ref.Generation > args.Generation {
		return queue.ErrSuperseded // the commit that was to be looked at is told to be passed over
	}
	if !found || ref.Commit == nil || repo.RemovedAt != nil {
		// Absence needs proof of intent: what a deleted branch deployed stays as it is.
		return nil
	}
	ctx, span := r.Tracer.Start(args.Trace.Continue(ctx), "evaluate branch")
	defer span.End()
	tree, err := r.Source.Tree(ctx, repo, ref.Name, *ref.Commit)
	if err != nil {
		return err
	}
	// Environments are independent: one that cannot be evaluated does not stop the others.
	var failures []error
	for _, environment := range repo.Branches[ref.Name] {
		err := r.desire(ctx, job, repo, ref, environment, tree)
		if errors.Is(err, queue.ErrSuperseded) {
			return err
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// branchEnded tells that a commit could not be evaluated at all.
func (r *Reconciler) branchEnded(ctx context.Context, tx pgx.Tx, job *queue.Job, cause error) error {
	var args branchArgs
	if err := job.Bind(&args); err != nil || args.Commit == "" {
		return err
	}
	repo, err := gitwatch.Get(ctx, tx, args.Repository)
	if err != nil {
		return err
	}
	if errors.Is(cause, queue.ErrSuperseded) {
		now, _, err := gitwatch.GetRef(ctx, tx, args.Repository, args.Branch)
		if err != nil || now.Commit != nil && *now.Commit == args.Commit {
			return err
		}
		return r.passedOver(ctx, tx, repo, args.Branch, args.Branch, args.Commit)
	}
	var reports []status.Report
	for _, environment := range repo.Branches[args.Branch] {
		// What was told of an environment where it could be evaluated stays true.
		e, err := r.loadEvaluation(ctx, tx, repo.Name, args.Branch, environment, args.Commit)
		if err != nil {
			return err
		}
		if e == nil {
			reports = append(reports, r.statusReport(repo.Name, args.Commit, environment, forge.Error, "the commit could not be evaluated: "+cause.Error()))
		}
	}
	return r.Outbox.Say(ctx, tx, reports...)
}

// gone returns the outcomes of applications that the commit removed, and that are therefore not found any more.
func (e *evaluation) gone(now []status.Outcome) (list []status.Outcome) {
	if e == nil {
		return nil
	}
	for _, before := range e.Outcome {
		found := slices.ContainsFunc(now, func(o status.Outcome) bool { return o.Path == before.Path && o.Application == before.Application })
		if !found && before.Run != 0 && before.Plan != nil && before.Plan.Removal() {
			list = append(list, before)
		}
	}
	return list
}

const sqlLockEnvironment = `SELECT pg_advisory_xact_lock(hashtextextended('environment ' || $1, 11))`

// desire plans a tree in one environment and stores what follows: releases, runs, what waits, and what is told.
func (r *Reconciler) desire(ctx context.Context, job *queue.Job, repo gitwatch.Repository, ref gitwatch.Ref, environment string, tree Tree) error {
	// Before the transaction, which must not stand idle for as long as a large tree takes.
	s, err := see(tree, repo, environment)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		// Evaluations of one environment take turns, so that each sees the names, services and resources of the others.
		if _, err := tx.Exec(ctx, sqlLockEnvironment, environment); err != nil {
			return fmt.Errorf("lock environment %s: %w", environment, err)
		}
		now, _, err := gitwatch.GetRef(ctx, tx, ref.Repository, ref.Name)
		if err != nil {
			return err
		}
		if now.Generation > ref.Generation {
			return queue.ErrSuperseded // the branch moved on; its job is waiting
		}
		v, err := r.evaluate(ctx, tx, repo, s)
		if err != nil {
			return err
		}
		before, err := r.Planner.Services(ctx, tx, environment)
		if err != nil {
			return err
		}
		if err := r.move(ctx, tx, v); err != nil {
			return err
		}
		told, err := r.loadEvaluation(ctx, tx, repo.Name, ref.Name, environment, *ref.Commit)
		if err != nil {
			return err
		}
		if err := r.lockJobs(ctx, tx, v); err != nil {
			return err
		}
		verdicts, err := r.decide(ctx, tx, v, *ref.Commit)
		if err != nil {
			return err
		}
		var outcomes []status.Outcome
		var replaced []int64
		for _, d := range verdicts {
			outcomes = append(outcomes, told.kept(d.outcome))
			replaced = append(replaced, d.finding.replaced...)
		}
		outcomes = append(outcomes, told.gone(outcomes)...)
		if err := r.wakeNeighbours(ctx, tx, repo, environment, before); err != nil {
			return err
		}
		older, err := evaluations(tx.Query(ctx, sqlWaiting, repo.Name, ref.Name, environment, *ref.Commit))
		if err != nil {
			return err
		}
		named := []string{*ref.Commit}
		for _, e := range older {
			named = append(named, e.Commit)
		}
		commits, err := lockTelling(ctx, tx, repo.Name, replaced, named...)
		if err != nil {
			return err
		}
		if err := r.passOver(ctx, tx, older); err != nil {
			return err
		}
		if err := r.storeEvaluation(ctx, tx, evaluation{
			Repository: repo.Name, Commit: *ref.Commit, Environment: environment, Ref: ref.Name, Generation: ref.Generation, Outcome: outcomes,
			Blocked: slices.ContainsFunc(outcomes, blocked),
		}); err != nil {
			return err
		}
		for _, commit := range commits {
			if err := r.refresh(ctx, tx, repo.Name, commit); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, sqlUnblock, repo.Name, ref.Name, environment, *ref.Commit); err != nil {
			return fmt.Errorf("forget what older commits were refused: %w", err)
		}
		return job.Hold(ctx, tx)
	})
}

// lockJobs takes the locks of the jobs of all applications that are known.
func (r *Reconciler) lockJobs(ctx context.Context, tx pgx.Tx, v *view) error {
	var ids []int64
	for _, f := range v.findings {
		if f.known != nil {
			ids = append(ids, f.known.ID)
		}
	}
	return r.Runs.LockJobs(ctx, tx, r.Queue, ids...)
}

// kept returns an outcome with what was told of the same commit before, if nothing came of it since: the record of a
// deployment stays when something else has the commit looked at again.
func (e *evaluation) kept(o status.Outcome) status.Outcome {
	if e == nil {
		return o
	}
	for _, before := range e.Outcome {
		same := before.Path == o.Path && before.Application == o.Application && before.Run != 0
		heldBack := o.Run == 0 && (o.Held != "" || o.KeptBack()) && o.Plan != nil && before.Plan != nil && o.Plan.Digest == before.Plan.Digest
		if same && (o.Run == before.Run || heldBack || !o.Changes()) {
			before.Held = o.Held
			return before
		}
	}
	return o
}

// obstacle returns why a person is needed before the plan is applied, or nil.
func (r *Reconciler) obstacle(ctx context.Context, tx pgx.Tx, v *view, f *finding, commit string) (*fault.Fault, error) {
	stored, err := r.Planner.Plan(ctx, tx, f.plan.ID)
	if err != nil || stored.ConfirmedBy != nil {
		return nil, err
	}
	if v.removesAll(f) {
		return fault.New(fault.DeletesAll, "the commit removes every application that the repository has in %s, %s too", v.environment.Name, f.name), nil
	}
	if why := asks(v.environment, f.plan); why != nil || v.environment.WhenPlanDiffers != "stop" {
		return why, nil
	}
	return r.differs(ctx, tx, v, f, commit)
}

// removesAll says that a finding is one of the removals of everything that the repository has. What waits for that goes on
// to wait, whatever the repository has by now.
func (v *view) removesAll(f *finding) bool {
	return f.gone && (v.emptied || f.known.WaitingFor != nil && f.known.WaitingFor.Code == fault.DeletesAll)
}

// asks returns why an environment asks a person before it deletes what a plan deletes, or nil.
func asks(e *platform.Environment, p *planner.Plan) *fault.Fault {
	switch {
	case e.ConfirmDeletes == "all" && (p.Summary.Delete+p.Summary.Replace > 0 || p.Removal()):
		return fault.New(fault.DeletesStateful, "the plan deletes something, and %s asks for a confirmation", e.Name)
	case e.ConfirmDeletes == "stateful" && p.Summary.Stateful > 0:
		return fault.New(fault.DeletesStateful, "the plan deletes data of %s", p.Application)
	default:
		return nil
	}
}

// differs says that a merge has another plan than its pull request showed.
func (r *Reconciler) differs(ctx context.Context, tx pgx.Tx, v *view, f *finding, commit string) (*fault.Fault, error) {
	pull, merged, err := gitwatch.MergedBy(ctx, tx, v.repository.Name, commit)
	if err != nil {
		return nil, err
	}
	if unread := v.repository.Fault; !merged && commit != "" && unread != nil && unread.Code != fault.BranchGone {
		return fault.New(fault.PlanDiffers, "whether a pull request showed another plan is not known: %s", unread.Message), nil
	}
	if !merged {
		return nil, nil
	}
	shown, err := r.loadEvaluation(ctx, tx, v.repository.Name, pullRef(pull.Number), v.environment.Name, pull.HeadCommit)
	if err != nil || shown == nil {
		return nil, err
	}
	for _, o := range shown.Outcome {
		if o.Path == f.path && o.Plan != nil && o.Plan.ID != f.plan.ID {
			return fault.New(fault.PlanDiffers, "pull request %d showed plan %s, the merge gives %s", pull.Number, o.Plan.ID, f.plan.ID), nil
		}
	}
	return nil, nil
}

// release makes the proposed release the newest desired one and schedules its run.
func (r *Reconciler) release(ctx context.Context, tx pgx.Tx, a planner.Application, f *finding, commit, cause string, out *status.Outcome) error {
	generation, err := r.Planner.NextRelease(ctx, tx, planner.Record{Application: a.ID, Plan: f.plan.ID, Commit: commit, Cause: cause}, f.release)
	if err != nil {
		return err
	}
	run := apply.Run{
		Application: a.ID, Environment: a.Environment, Name: f.name, Repository: a.Repository, Generation: generation,
		Kind: apply.Deploy, State: apply.Queued, Plan: f.plan.ID, Commit: commit, Atomic: f.group(), Together: f.joined,
	}
	if f.gone {
		run.Kind = apply.Remove
	} else if run.Paths, err = r.paths(ctx, tx, a.Environment); err != nil {
		return err
	}
	id, replaced, err := r.Runs.Schedule(ctx, tx, r.Queue, run)
	if err != nil {
		return err
	}
	out.Generation, out.Run, out.State = generation, id, string(apply.Queued)
	for _, old := range replaced {
		f.replaced = append(f.replaced, old.ID)
	}
	return nil
}

// paths are the golden paths that deployments of an environment go through, nil for none.
func (r *Reconciler) paths(ctx context.Context, tx pgx.Tx, environment string) (*apply.Paths, error) {
	p, err := r.Platform.Current(ctx, tx)
	if err != nil {
		return nil, err
	}
	e, err := p.Environment(environment)
	if err != nil || e.Path == "" {
		return nil, err
	}
	return &apply.Paths{Name: e.Path, Texts: p.PathTexts(e.Path)}, nil
}

func outcome(v *view, f *finding) status.Outcome {
	return status.Outcome{Application: f.name, Environment: v.environment.Name, Path: f.path, Plan: f.plan, Faults: f.faults}
}
