package reconcile

import (
	"cmp"
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
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/status"
)

// pullRef names a pull request among refs.
func pullRef(number int64) string { return fmt.Sprintf("#%d", number) }

// pull plans what merging a pull request would do, and tells it. Nothing else changes.
func (r *Reconciler) pull(ctx context.Context, job *queue.Job) error {
	var args pullArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	repo, err := gitwatch.Get(ctx, r.Pool, args.Repository)
	if err != nil {
		return err
	}
	p, found, err := gitwatch.GetPull(ctx, r.Pool, args.Repository, args.Number)
	if err != nil || !found || repo.RemovedAt != nil {
		return err
	}
	if p.State != forge.Open || len(repo.Branches[p.BaseRef]) == 0 {
		// It ended, or was pointed at a branch that nothing follows. Its head may be another one by now than the one that waited.
		return pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
			if err := r.unplanned(ctx, tx, repo, p, args.Head, args.base(p)); err != nil {
				return err
			}
			return job.Finish(ctx, tx)
		})
	}
	if p.Generation > args.Generation {
		return queue.ErrSuperseded // the head that was to be planned is told to be passed over
	}
	ctx, span := r.Tracer.Start(args.Trace.Continue(ctx), "plan pull request")
	defer span.End()
	if err := r.outdated(ctx, p); err != nil {
		return err
	}
	tree, conflicts, err := r.Source.Merge(ctx, repo, p)
	if err != nil {
		return err
	}
	var views []*view
	if len(conflicts) == 0 {
		for _, environment := range repo.Branches[p.BaseRef] {
			s, err := see(tree, repo, environment)
			if err != nil {
				return err
			}
			v, err := r.evaluate(ctx, r.Pool, repo, s)
			if err != nil {
				return err
			}
			views = append(views, v)
		}
	}
	return pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		now, _, err := gitwatch.GetPull(ctx, tx, p.Repository, p.Number)
		if err != nil {
			return err
		}
		if now.Generation > p.Generation {
			return queue.ErrSuperseded
		}
		if err := r.tellPull(ctx, tx, repo, p, views, conflicts); err != nil {
			return err
		}
		return job.Finish(ctx, tx)
	})
}

// outdated tells that the comment is about an older head or base while a new plan is being made, which takes long if the
// remote does not answer.
func (r *Reconciler) outdated(ctx context.Context, p gitwatch.Pull) error {
	return pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		why := fmt.Sprintf("a new plan is being made of head %.7s on base %.7s.", p.HeadCommit, p.BaseCommit)
		return r.Outbox.Outdated(ctx, tx, p.Repository, p.Number, p.SeenAt, why)
	})
}

// tellPull stores the plans of a pull request and tells them as statuses and comment.
func (r *Reconciler) tellPull(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, p gitwatch.Pull, views []*view, conflicts []string) error {
	var reports []status.Report
	var told []evaluation
	for _, v := range views {
		e, err := r.propose(ctx, tx, v, p)
		if err != nil {
			return err
		}
		state, text := proposed(e.Outcome)
		reports = append(reports, r.statusReport(repo.Name, p.HeadCommit, v.environment.Name, state, text))
		told = append(told, *e)
	}
	comment := r.comment(repo.Name, p, told...)
	if len(views) > 0 {
		comment.Platform = views[0].platform.Digest
	}
	if len(conflicts) > 0 {
		comment.Conflicts, comment.Time = conflicts, p.SeenAt
		for _, e := range repo.Branches[p.BaseRef] {
			reports = append(reports, r.statusReport(repo.Name, p.HeadCommit, e, forge.Failure, "conflicts with "+p.BaseRef))
		}
	}
	return r.Outbox.Say(ctx, tx, append(reports, r.commentReport(repo.Name, p, comment))...)
}

// propose stores what a pull request means for an environment, and what its merge would wait for.
func (r *Reconciler) propose(ctx context.Context, tx pgx.Tx, v *view, p gitwatch.Pull) (*evaluation, error) {
	e := evaluation{Repository: p.Repository, Commit: p.HeadCommit, Environment: v.environment.Name, Ref: pullRef(p.Number), Generation: p.Generation}
	list := make([]decision, len(v.findings))
	for i := range v.findings {
		f := &v.findings[i]
		o := outcome(v, f)
		if f.plan != nil {
			if err := r.Planner.StorePlan(ctx, tx, f.plan, p.Repository, p.HeadCommit, p.Number); err != nil {
				return nil, err
			}
			var err error
			if o.Waiting, err = r.obstacle(ctx, tx, v, f, ""); err != nil {
				return nil, err
			}
			if f.known != nil && !f.plan.Empty() {
				if err := r.foresee(ctx, tx, *f.known, &o); err != nil {
					return nil, err
				}
			}
		}
		stuck := cmp.Or(invalid(o), waitsFor(o), heldFor(o))
		list[i] = decision{finding: f, outcome: o, free: stuck == "" && f.plan != nil && !f.plan.Empty(), stuck: stuck}
	}
	if err := r.keepTogether(ctx, tx, v, list); err != nil {
		return nil, err
	}
	for _, d := range list {
		e.Outcome = append(e.Outcome, d.outcome)
	}
	if err := r.storeEvaluation(ctx, tx, e); err != nil {
		return nil, err
	}
	return r.loadEvaluation(ctx, tx, e.Repository, e.Ref, e.Environment, e.Commit)
}

// foresee adds to an outcome what its application's deployment would meet: a hold, or a run that goes on.
func (r *Reconciler) foresee(ctx context.Context, tx pgx.Tx, a planner.Application, o *status.Outcome) error {
	if a.Hold.Holds(o.Plan.Digest) {
		o.Held = fmt.Sprintf("%s, by %s", a.Hold.Reason, a.Hold.By)
	}
	if a.Applied == a.Generation {
		return nil
	}
	run, err := r.Runs.RunOf(ctx, tx, a.ID, a.Generation)
	if err == nil && !run.State.Final() {
		o.Behind = run.ID
	}
	return err
}

// pullEnded tells that a pull request could not be planned at all.
func (r *Reconciler) pullEnded(ctx context.Context, tx pgx.Tx, job *queue.Job, cause error) error {
	var args pullArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	repo, err := gitwatch.Get(ctx, tx, args.Repository)
	if err != nil {
		return err
	}
	p, found, err := gitwatch.GetPull(ctx, tx, args.Repository, args.Number)
	if err != nil || !found {
		return err
	}
	if errors.Is(cause, queue.ErrSuperseded) {
		if p.HeadCommit == args.Head && p.BaseRef == args.base(p) {
			return nil
		}
		return r.passedOver(ctx, tx, repo, pullRef(p.Number), args.base(p), args.Head)
	}
	problem, known := fault.As(cause)
	if !known {
		problem = fault.New(fault.Internal, "the server's log says why")
	}
	if errors.Is(cause, queue.ErrCancelled) {
		problem = fault.New(fault.Internal, "somebody cancelled it").Do("Write `/plan` into a comment, or push a commit.")
	}
	if err := r.sayAll(ctx, tx, repo, args.base(p), args.Head, forge.Error, "the pull request could not be planned: "+problem.Message); err != nil {
		return err
	}
	if p.Generation > args.Generation || p.State != forge.Open {
		return nil // what is newer says what it comes to
	}
	comment := r.comment(repo.Name, p)
	comment.Problem, comment.Time = problem, p.SeenAt
	return r.Outbox.Say(ctx, tx, r.commentReport(repo.Name, p, comment))
}

// sayClosed takes the plan out of the comment of a pull request that was closed, if there is one.
func (r *Reconciler) sayClosed(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, p gitwatch.Pull) error {
	for _, environment := range repo.Branches[p.BaseRef] {
		e, err := r.loadEvaluation(ctx, tx, repo.Name, pullRef(p.Number), environment, p.HeadCommit)
		if err != nil {
			return err
		}
		if e != nil {
			c := r.comment(repo.Name, p)
			c.Closed = true
			return r.Outbox.Say(ctx, tx, r.commentReport(repo.Name, p, c))
		}
	}
	return nil
}

// replanOn plans the open pull requests anew that told something else of an application than what it is after a run: the
// difference to another release than the run's, or that the run goes on.
func (r *Reconciler) replanOn(ctx context.Context, tx pgx.Tx, run apply.Run) error {
	pulls, err := gitwatch.Pulls(ctx, tx, run.Repository, forge.Open)
	if err != nil {
		return err
	}
	for _, p := range pulls {
		e, err := r.loadEvaluation(ctx, tx, p.Repository, pullRef(p.Number), run.Environment, p.HeadCommit)
		if err != nil {
			return err
		}
		stale := e != nil && slices.ContainsFunc(e.Outcome, func(o status.Outcome) bool {
			other := run.State == apply.Succeeded && o.Plan != nil && o.Plan.Base != run.Generation
			return o.Application == run.Name && (other || o.Behind == run.ID)
		})
		if !stale {
			continue
		}
		if err := r.Replan(ctx, tx, p.Repository, p.Number); err != nil {
			return err
		}
	}
	return nil
}

// Replan plans a pull request anew, because somebody asks for it. One that is not known or not open is left alone.
func (r *Reconciler) Replan(ctx context.Context, tx pgx.Tx, repository string, number int64) error {
	repo, err := gitwatch.Get(ctx, tx, repository)
	if err != nil {
		return err
	}
	p, found, err := gitwatch.GetPull(ctx, tx, repository, number)
	if err != nil || !found || p.State != forge.Open {
		return err
	}
	if p, err = gitwatch.TouchPull(ctx, tx, repository, number); err != nil {
		return err
	}
	return r.enqueuePull(ctx, tx, repo, p)
}

// Preview plans a tree that is not in Git yet, for people who ask before they commit. It changes and stores nothing. A
// repository that is not watched counts as new. whole says that the tree is all of the repository, so that what is not
// in it would be removed.
func (r *Reconciler) Preview(ctx context.Context, repository, environment string, tree Tree, whole bool) ([]status.Outcome, error) {
	repo, err := gitwatch.Get(ctx, r.Pool, repository)
	if f, ok := fault.As(err); ok && f.Code == fault.RepositoryUnknown {
		repo, err = gitwatch.Repository{Name: repository, Paths: DefaultPaths}, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := see(tree, repo, environment)
	if err != nil {
		return nil, err
	}
	v, err := r.evaluate(ctx, r.Pool, repo, s)
	if err != nil {
		return nil, err
	}
	outcomes := []status.Outcome{}
	for i := range v.findings {
		if v.findings[i].gone && !whole {
			continue
		}
		outcomes = append(outcomes, outcome(v, &v.findings[i]))
	}
	return outcomes, nil
}
