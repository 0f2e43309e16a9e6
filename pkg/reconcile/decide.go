package reconcile

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/status"
)

// decision is what a finding means for its application.
type decision struct {
	finding *finding
	// application is its row, locked, if there is a plan.
	application planner.Application
	outcome     status.Outcome
	// free: its release is to be made, and nothing stands against it.
	free bool
	// stuck says why what the tree asks for is not there, and will not be by itself; "" if it is free, under way or there.
	stuck string
}

// decide stores what a tree means for the applications of an environment.
func (r *Reconciler) decide(ctx context.Context, tx pgx.Tx, v *view, commit string) ([]decision, error) {
	list := make([]decision, len(v.findings))
	for i := range v.findings {
		d := decision{finding: &v.findings[i], outcome: outcome(v, &v.findings[i])}
		if err := r.weigh(ctx, tx, v, &d, commit); err != nil {
			return nil, err
		}
		list[i] = d
	}
	if err := r.keepTogether(ctx, tx, v, list); err != nil {
		return nil, err
	}
	if err := r.join(ctx, tx, v, list); err != nil {
		return nil, err
	}
	for i := range list {
		if err := r.settle(ctx, tx, &list[i], commit); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// weigh stores what is found and says what stands against its release.
func (r *Reconciler) weigh(ctx context.Context, tx pgx.Tx, v *view, d *decision, commit string) error {
	f := d.finding
	if f.plan == nil {
		d.stuck = invalid(d.outcome)
		return r.weighWithoutPlan(ctx, tx, f, commit, d.outcome)
	}
	a, err := r.application(ctx, tx, v, f)
	if err != nil {
		return err
	}
	// What was read before the lock may have changed: another evaluation or a run was faster.
	if f.known != nil && (a.Applied != f.known.Applied || a.Generation != f.known.Generation) {
		*f.known = a
		if f.base, err = r.base(ctx, tx, f); err != nil {
			return err
		}
		f.plan = v.plan(f)
		d.outcome.Plan = f.plan
	}
	a.Name, a.Inputs, a.Commit, a.Faults, a.Asked = f.name, f.inputs, commit, nil, &f.plan.Digest
	d.application = a
	if err := r.Planner.Evaluated(ctx, tx, a); err != nil {
		return err
	}
	if err := r.Planner.StorePlan(ctx, tx, f.plan, v.repository.Name, commit, 0); err != nil {
		return err
	}
	if done, err := r.already(ctx, tx, d); err != nil || done {
		return err
	}
	if d.outcome.Waiting, err = r.obstacle(ctx, tx, v, f, commit); err != nil || d.outcome.Waiting != nil {
		d.stuck = waitsFor(d.outcome)
		return err
	}
	if d.free = !a.Hold.Holds(f.plan.Digest); d.free {
		return nil
	}
	d.outcome.Held = a.Hold.Reason
	d.stuck = heldFor(d.outcome)
	// What is held back is not what runs: whoever looks next, after the hold is lifted at the latest, plans anew.
	a.Inputs = ""
	return r.Planner.Evaluated(ctx, tx, a)
}

// lookAgain is when an evaluation is done anew that something overtook while it waited for locks.
const lookAgain = 100 * time.Millisecond

func (r *Reconciler) weighWithoutPlan(ctx context.Context, tx pgx.Tx, f *finding, commit string, out status.Outcome) error {
	if f.known == nil {
		return nil
	}
	a, err := r.Planner.Lock(ctx, tx, f.known.ID)
	if err != nil {
		return err
	}
	if f.unchanged {
		switch back, err := r.goesBack(ctx, tx, f); {
		case err != nil:
			return err
		case back:
			return queue.Snooze(lookAgain, a.Name+" has just begun to go back")
		}
	}
	a.Commit = commit
	if !f.unchanged {
		a.Faults, a.Inputs = out.Faults, ""
	}
	return r.Planner.Evaluated(ctx, tx, a)
}

// goesBack says whether the newest release of a finding goes back with others.
func (r *Reconciler) goesBack(ctx context.Context, db postgres.Querier, f *finding) (bool, error) {
	if f.group() == "" {
		return false, nil
	}
	return r.Runs.GoesBack(ctx, db, f.known.ID, f.known.Generation)
}

// settle notes what waits, and makes the release that is free.
func (r *Reconciler) settle(ctx context.Context, tx pgx.Tx, d *decision, commit string) error {
	a, f := d.application, d.finding
	if f.plan == nil {
		return nil
	}
	plan := ""
	if d.outcome.Waiting != nil {
		plan = f.plan.ID
	}
	if err := r.Planner.Wait(ctx, tx, a.ID, plan, d.outcome.Waiting); err != nil || !d.free {
		return err
	}
	if a.Hold != nil {
		// The hold was for one release that failed, and this is another one.
		if err := r.Planner.LiftHold(ctx, tx, a.ID); err != nil {
			return err
		}
	}
	return r.release(ctx, tx, a, f, commit, "commit", &d.outcome)
}

// application returns the application's row, locked, and makes it if it is new.
func (r *Reconciler) application(ctx context.Context, tx pgx.Tx, v *view, f *finding) (planner.Application, error) {
	if f.known != nil {
		return r.Planner.Lock(ctx, tx, f.known.ID)
	}
	return r.Planner.Create(ctx, tx, v.environment.Name, v.repository.Name, f.path, f.name)
}

// already says whether what is proposed is what is desired already, and adds to the outcome what became of it.
func (r *Reconciler) already(ctx context.Context, tx pgx.Tx, d *decision) (bool, error) {
	a, f, out := d.application, d.finding, &d.outcome
	if a.Generation == 0 {
		return false, nil
	}
	newest, err := r.Planner.Digest(ctx, tx, a.ID, a.Generation)
	if err != nil || newest != f.plan.Digest {
		return false, err
	}
	run, err := r.Runs.RunOf(ctx, tx, a.ID, a.Generation)
	if err != nil {
		return false, err
	}
	held, failed := a.Hold.Holds(f.plan.Digest), run.State == apply.Cancelled || run.State == apply.Failed
	if run.State == apply.Superseded || !held && failed || f.gone && run.Kind == apply.Rollback {
		return false, nil // a first deployment that was taken back left what holds data: that is not the removal yet
	}
	if run.State != apply.Succeeded || run.Commit == a.Commit {
		out.Generation, out.Run, out.State, out.Problem = run.Generation, run.ID, string(run.State), run.Fault
	}
	if !failed {
		if back, err := r.Runs.GoesBack(ctx, tx, a.ID, a.Generation); err != nil || back {
			return false, err // with what is lost, which it is to be deployed with anew
		}
	}
	if a.Hold != nil && !held {
		// What was held back is not what the branch asks for any more, and what it asks for is there.
		if err := r.Planner.LiftHold(ctx, tx, a.ID); err != nil {
			return false, err
		}
	}
	if held {
		out.Held = a.Hold.Reason
	}
	if failed {
		d.stuck = heldFor(*out)
	}
	return true, nil
}
