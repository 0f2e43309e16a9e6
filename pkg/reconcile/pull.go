package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/gitwatch"
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
	if err != nil || !found || p.State != forge.Open || repo.RemovedAt != nil {
		return err
	}
	if len(repo.Branches[p.BaseRef]) == 0 {
		return nil // it was pointed at a branch that nothing follows
	}
	ctx, span := r.Tracer.Start(args.Trace.Continue(ctx), "plan pull request")
	defer span.End()
	tree, conflicts, err := r.Source.Merge(ctx, repo, p)
	if err != nil {
		return err
	}
	var views []*view
	if len(conflicts) == 0 {
		for _, environment := range repo.Branches[p.BaseRef] {
			v, err := r.evaluate(ctx, r.Pool, repo, environment, tree)
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

// tellPull stores the plans of a pull request and tells them as statuses and comment.
func (r *Reconciler) tellPull(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, p gitwatch.Pull, views []*view, conflicts []string) error {
	comment := r.comment(repo.Name, p)
	comment.Conflicts = conflicts
	var reports []status.Report
	for _, v := range views {
		comment.Platform = v.platform.Digest
		var outcomes []status.Outcome
		for i := range v.findings {
			f := &v.findings[i]
			o := outcome(v, f)
			if f.plan != nil {
				if err := r.Planner.StorePlan(ctx, tx, f.plan, repo.Name, p.HeadCommit, p.Number); err != nil {
					return err
				}
				// A pull request is told beforehand what its merge would wait for.
				var err error
				if o.Waiting, err = r.obstacle(ctx, tx, v, f, ""); err != nil {
					return err
				}
			}
			outcomes = append(outcomes, o)
		}
		if err := r.storeEvaluation(ctx, tx, evaluation{
			Repository: repo.Name, Commit: p.HeadCommit, Environment: v.environment.Name, Ref: pullRef(p.Number), Generation: p.Generation, Outcome: outcomes,
		}); err != nil {
			return err
		}
		state, text := proposed(outcomes)
		reports = append(reports, r.statusReport(repo.Name, p.HeadCommit, v.environment.Name, state, text))
		comment.Outcomes = append(comment.Outcomes, outcomes...)
	}
	if len(conflicts) > 0 {
		for _, e := range repo.Branches[p.BaseRef] {
			reports = append(reports, r.statusReport(repo.Name, p.HeadCommit, e, forge.Failure, "conflicts with "+p.BaseRef))
		}
	}
	return r.Outbox.Say(ctx, tx, append(reports, r.commentReport(repo.Name, p, comment))...)
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
		if p.HeadCommit == args.Head {
			return nil
		}
		return r.passedOver(ctx, tx, repo, pullRef(p.Number), p.BaseRef, args.Head)
	}
	why := cause.Error()
	if f, ok := fault.As(cause); ok {
		why = f.Message
	}
	return r.sayAll(ctx, tx, repo, p.BaseRef, args.Head, forge.Error, "the pull request could not be planned: "+why)
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
	v, err := r.evaluate(ctx, r.Pool, repo, environment, tree)
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
