package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/innominatus/reconciler/pkg/postgres"
)

// What became of the newest commit of a branch or pull request stays.
const sqlPrune = `DELETE FROM evaluations WHERE (repository, ref, environment, commit) IN
(SELECT repository, ref, environment, commit FROM evaluations e WHERE created_at < $1 AND EXISTS (SELECT FROM evaluations n
WHERE n.repository = e.repository AND n.ref = e.ref AND n.environment = e.environment AND n.generation > e.generation) LIMIT $2)`

// Prune forgets what ended longer than a time ago, by the database's clock. What somebody may still need stays, however old it
// is: what is in the targets, what a rollback goes back to, what waits, and the newest runs and releases of each application.
func (r *Reconciler) Prune(ctx context.Context, keep time.Duration, newest int) error {
	var before time.Time
	if err := r.Pool.QueryRow(ctx, `SELECT now() - $1 * interval '1 microsecond'`, keep.Microseconds()).Scan(&before); err != nil {
		return fmt.Errorf("ask the time: %w", err)
	}
	return errors.Join(
		r.Runs.Prune(ctx, r.Pool, before, newest), r.Planner.Prune(ctx, r.Pool, before, newest), r.Outbox.Prune(ctx, r.Pool, before),
		r.Platform.Prune(ctx, r.Pool, before), postgres.Prune(ctx, r.Pool, "evaluations", sqlPrune, before))
}
