package reconcile

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
)

// wakeNeighbours evaluates the other repositories of an environment anew when the services that they may refer to are
// not what they were.
func (r *Reconciler) wakeNeighbours(ctx context.Context, tx pgx.Tx, me gitwatch.Repository, environment string, before map[string]recipe.Service) error {
	after, err := r.Planner.Services(ctx, tx, environment)
	if err != nil || reflect.DeepEqual(before, after) {
		return err
	}
	return r.wake(ctx, tx, func(repo gitwatch.Repository) bool {
		return repo.Name != me.Name && slices.Contains(repo.Environments(), environment)
	})
}

// wake evaluates repositories anew, all of a transaction in the order of their names: two that wake the same ones do not
// wait for each other.
func (r *Reconciler) wake(ctx context.Context, tx pgx.Tx, which func(gitwatch.Repository) bool) error {
	list, err := gitwatch.Repositories(ctx, tx)
	if err != nil {
		return err
	}
	for _, repo := range list {
		if which(repo) {
			if err := r.again(ctx, tx, repo); err != nil {
				return err
			}
		}
	}
	return nil
}

// wakeTakenBack evaluates an application anew that was taken back because of another one: that may be deployed by now.
func (r *Reconciler) wakeTakenBack(ctx context.Context, tx pgx.Tx, run apply.Run) error {
	if run.Kind != apply.Rollback {
		return nil
	}
	a, err := r.Planner.Application(ctx, tx, run.Application)
	if err != nil || a.WaitingFor == nil || a.WaitingFor.Code != fault.Together {
		return err
	}
	return r.wake(ctx, tx, func(repo gitwatch.Repository) bool { return repo.Name == a.Repository })
}

// wakeAfter evaluates the repositories anew for which a run that succeeded may have changed something: those that wait for
// a name or an object of the environment, and those whose applications use resources that the run's application describes.
func (r *Reconciler) wakeAfter(ctx context.Context, tx pgx.Tx, run apply.Run) error {
	rows, err := tx.Query(ctx, sqlBlocked, run.Environment)
	if err != nil {
		return fmt.Errorf("read who waits for a name: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read who waits for a name: %w", err)
	}
	sharers, err := r.Runs.Sharers(ctx, tx, run)
	if err != nil {
		return err
	}
	if len(sharers) > 0 {
		list, err := r.Planner.Applications(ctx, tx, planner.Filter{Environment: run.Environment})
		if err != nil {
			return err
		}
		for _, a := range list {
			if slices.Contains(sharers, a.Name) {
				names = append(names, a.Repository)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return r.wake(ctx, tx, func(repo gitwatch.Repository) bool { return slices.Contains(names, repo.Name) })
}
