package reconcile

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/status"
)

// Confirm lets a plan that waits be applied. The commit is evaluated again: only if it still gives the same plan is it
// applied.
func (r *Reconciler) Confirm(ctx context.Context, plan, by string) error {
	return pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		p, err := r.Planner.Plan(ctx, tx, plan)
		if err != nil {
			return err
		}
		a, err := r.Planner.Named(ctx, tx, p.Environment, p.Application)
		if err != nil {
			return err
		}
		if a.Waiting != plan {
			if a.Waiting != "" {
				return fault.New(fault.PlanOutdated, "%s waits for plan %s, not for %s", a.Name, a.Waiting, plan)
			}
			return fault.New(fault.PlanNotWaiting, "plan %s does not wait for a confirmation", plan)
		}
		if a.WaitingFor != nil && a.WaitingFor.Code == fault.Together {
			return fault.New(fault.PlanNotWaiting, "plan %s does not wait for a confirmation: %s", plan, a.WaitingFor.Message).Do("%s", fault.Together.Entry().Remedy)
		}
		if err := r.Planner.Confirm(ctx, tx, plan, by); err != nil {
			return err
		}
		return r.evaluateAgain(ctx, tx, a)
	})
}

// evaluateAgain asks for a new look at the branches that an application's environment follows.
func (r *Reconciler) evaluateAgain(ctx context.Context, tx pgx.Tx, a planner.Application) error {
	repo, err := gitwatch.Get(ctx, tx, a.Repository)
	if err != nil {
		return err
	}
	return r.again(ctx, tx, repo)
}

// Hold stops automatic deployment of an application until Resume: none begins, and one that runs begins no further step.
func (r *Reconciler) Hold(ctx context.Context, environment, name, reason, by string) error {
	return r.act(ctx, environment, name, func(tx pgx.Tx, a planner.Application) error {
		if err := r.Planner.SetHold(ctx, tx, a.ID, planner.Hold{Reason: reason, By: by}); err != nil {
			return err
		}
		return r.Runner.Wake(ctx, tx, a.ID) // so that one that waits says who holds it
	})
}

// Resume lifts a hold and deploys what its branch says.
func (r *Reconciler) Resume(ctx context.Context, environment, name string) error {
	return r.act(ctx, environment, name, func(tx pgx.Tx, a planner.Application) error {
		if err := r.Planner.LiftHold(ctx, tx, a.ID); err != nil {
			return err
		}
		if err := r.Runner.Wake(ctx, tx, a.ID); err != nil {
			return err
		}
		return r.evaluateAgain(ctx, tx, a)
	})
}

// Rollback applies an earlier release again (0: the last good one with other content) and holds the application, so that
// automation does not fight it. One that deletes data needs the id of its plan as a confirmation.
func (r *Reconciler) Rollback(ctx context.Context, environment, name string, generation int64, confirm, by string) (run apply.Run, err error) {
	var refused *fault.Fault
	generation, impossible, err := r.possible(ctx, environment, name, generation)
	if err != nil {
		return run, err
	}
	err = r.act(ctx, environment, name, func(tx pgx.Tx, a planner.Application) error {
		back, err := r.Runner.Back(ctx, tx, a, generation)
		if err != nil {
			return err
		}
		e, err := r.environment(ctx, tx, environment)
		if err != nil {
			return err
		}
		refused = impossible
		if why := asks(e, back.Plan); why != nil {
			refused = why
		}
		if refused != nil && confirm != back.Plan.ID {
			refused.Do("Look at it with `reconciler plans %s`. If it is meant, run `reconciler rollback %s --to %d --confirm %s`.", back.Plan.ID, name, generation, back.Plan.ID)
			return r.Planner.StorePlan(ctx, tx, back.Plan, a.Repository, back.Commit, 0)
		}
		refused = nil
		if !back.Plan.Empty() {
			if err := r.Runner.Withdraw(ctx, tx, a.ID, a.Generation); err != nil {
				return err
			}
		}
		if run, err = r.Runner.Again(ctx, tx, a, back); err != nil {
			return err
		}
		if err := r.meant(ctx, tx, back.Plan, impossible, by); err != nil {
			return err
		}
		return r.Planner.SetHold(ctx, tx, a.ID, planner.Hold{By: by, Reason: fmt.Sprintf("rolled back to generation %d", generation)})
	})
	if err == nil && refused != nil {
		err = refused
	}
	return run, err
}

// possible returns the generation to go back to, and why that would not bring back what ran: registries are asked before
// anything is locked.
func (r *Reconciler) possible(ctx context.Context, environment, name string, generation int64) (int64, *fault.Fault, error) {
	var release *planner.Release
	err := pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		a, err := r.Planner.Named(ctx, tx, environment, name)
		if err != nil {
			return err
		}
		if generation == 0 {
			if generation, err = r.lastDifferent(ctx, tx, a); err != nil {
				return err
			}
		}
		release, err = r.Planner.Release(ctx, tx, a.ID, generation)
		return err
	})
	if err != nil || release == nil {
		return generation, nil, err
	}
	err = r.Runner.Possible(ctx, environment, release)
	if f, ok := fault.As(err); ok && (f.Code == fault.ImageGone || f.Code == fault.ProvisionerGone) {
		return generation, f, nil
	}
	return generation, nil, err
}

// meant notes that a person wants a plan that deletes data, or whose release may not run: a rollback that nobody asked for
// spares the one and refuses the other.
func (r *Reconciler) meant(ctx context.Context, tx pgx.Tx, p *planner.Plan, impossible *fault.Fault, by string) error {
	if p.Summary.Stateful == 0 && impossible == nil {
		return nil
	}
	confirmed, err := r.Planner.Confirmed(ctx, tx, p.ID)
	if err != nil || confirmed {
		return err
	}
	return r.Planner.Confirm(ctx, tx, p.ID, by)
}

func (r *Reconciler) environment(ctx context.Context, tx pgx.Tx, name string) (*platform.Environment, error) {
	p, err := r.Platform.Current(ctx, tx)
	if err != nil {
		return nil, err
	}
	return p.Environment(name)
}

// lastDifferent returns the newest generation that succeeded and has other content than the newest one.
func (r *Reconciler) lastDifferent(ctx context.Context, tx pgx.Tx, a planner.Application) (int64, error) {
	succeeded, err := r.Runs.Succeeded(ctx, tx, a.ID)
	if err != nil {
		return 0, err
	}
	newest, err := r.Planner.Digest(ctx, tx, a.ID, a.Generation)
	if err != nil {
		return 0, err
	}
	for below := a.Generation; ; {
		generation, err := r.Planner.LastGood(ctx, tx, a.ID, succeeded, below)
		if err != nil {
			return 0, err
		}
		if generation == 0 {
			return 0, fault.New(fault.NothingToUndo, "%s has no earlier release in %s that succeeded", a.Name, a.Environment)
		}
		digest, err := r.Planner.Digest(ctx, tx, a.ID, generation)
		if err != nil || digest != newest {
			return generation, err
		}
		below = generation
	}
}

// Retry tries the newest release of an application again after it failed.
func (r *Reconciler) Retry(ctx context.Context, environment, name string) (run apply.Run, err error) {
	err = r.act(ctx, environment, name, func(tx pgx.Tx, a planner.Application) error {
		failed, err := r.newestFailed(ctx, tx, a)
		if err != nil {
			return err
		}
		others, err := r.Runs.Others(ctx, tx, failed)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return fault.New(fault.RunNotRetryable, "%s is deployed together with %s, and not alone", name, others[0].Name).
				Do("Run `reconciler resume %s`: all of them are deployed as soon as none is on hold.", name)
		}
		if err := r.Planner.LiftHold(ctx, tx, a.ID); err != nil {
			return err
		}
		record, err := r.Planner.Record(ctx, tx, a.ID, failed.Generation)
		if err != nil {
			return err
		}
		f := finding{document: document{path: a.Path}, name: a.Name, known: &a, release: record.Release, gone: record.Release == nil}
		base, err := r.base(ctx, tx, &f)
		if err != nil {
			return err
		}
		f.plan = planner.NewPlan(a.Name, a.Environment, "retry", base, record.Release)
		e, err := r.environment(ctx, tx, environment)
		if err != nil {
			return err
		}
		if why := asks(e, f.plan); why != nil {
			return why.Do("Run `reconciler resume %s`: the branch is planned anew, and the plan waits for your confirmation.", name)
		}
		if err := r.Planner.StorePlan(ctx, tx, f.plan, a.Repository, failed.Commit, 0); err != nil {
			return err
		}
		out := status.Outcome{Application: a.Name, Environment: a.Environment, Path: a.Path, Plan: f.plan}
		if err := r.release(ctx, tx, a, &f, failed.Commit, "retry", &out); err != nil {
			return err
		}
		if err := r.retell(ctx, tx, a.Repository, f.replaced); err != nil {
			return err
		}
		if run, err = r.Runs.Run(ctx, tx, out.Run); err != nil {
			return err
		}
		return r.repoint(ctx, tx, failed, run)
	})
	return run, err
}

// newestFailed returns the run that a retry repeats: the newest one of what the branch asks for, if it failed.
func (r *Reconciler) newestFailed(ctx context.Context, tx pgx.Tx, a planner.Application) (apply.Run, error) {
	runs, err := r.Runs.Runs(ctx, tx, apply.RunFilter{Application: a.ID}, 20)
	if err != nil {
		return apply.Run{}, err
	}
	for _, run := range runs {
		digest, err := r.Planner.Digest(ctx, tx, a.ID, run.Generation)
		if err != nil {
			return apply.Run{}, err
		}
		if a.Asked == nil || digest != *a.Asked {
			continue
		}
		if run.State == apply.Failed || run.State == apply.Cancelled {
			return run, nil
		}
		break
	}
	return apply.Run{}, fault.New(fault.RunNotRetryable, "no run of what the branch asks for of %s in %s failed", a.Name, a.Environment)
}

// act runs f in a transaction that holds the application's lock.
func (r *Reconciler) act(ctx context.Context, environment, name string, f func(pgx.Tx, planner.Application) error) error {
	return postgres.Begin(ctx, r.Pool, func(tx pgx.Tx) error {
		a, err := r.Planner.Named(ctx, tx, environment, name)
		if err != nil {
			return err
		}
		if err := r.Runs.LockJobs(ctx, tx, r.Queue, a.ID); err != nil {
			return err
		}
		if a, err = r.Planner.Lock(ctx, tx, a.ID); err != nil {
			return err
		}
		if err := f(tx, a); err != nil {
			return err
		}
		return r.refresh(ctx, tx, a.Repository, a.Commit)
	})
}
