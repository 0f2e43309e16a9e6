package planner

import (
	"context"
	"time"

	"github.com/innominatus/reconciler/pkg/postgres"
)

const (
	// The newest $3 releases of an application stay, and so does what is applied.
	sqlPruneReleases = `DELETE FROM releases WHERE (application, generation) IN (SELECT r.application, r.generation FROM releases r
JOIN applications a ON a.id = r.application WHERE r.created_at < $1 AND r.generation <= a.generation - $3 AND r.generation <> a.applied LIMIT $2)`
	// A plan that a release came of or that an application waits for stays.
	sqlPrunePlans = `DELETE FROM plans WHERE id IN (SELECT id FROM plans p WHERE created_at < $1
AND NOT EXISTS (SELECT FROM releases r JOIN applications a ON a.id = r.application WHERE r.plan = p.id AND a.environment = p.environment)
AND NOT EXISTS (SELECT FROM applications a WHERE a.waiting = p.id) LIMIT $2)`
)

// Prune forgets releases and plans that were made before a time, but not the newest of an application.
func (s *Store) Prune(ctx context.Context, db postgres.Querier, before time.Time, newest int) error {
	if err := postgres.Prune(ctx, db, "releases", sqlPruneReleases, before, newest); err != nil {
		return err
	}
	return postgres.Prune(ctx, db, "plans", sqlPrunePlans, before)
}
