package platform

import (
	"context"
	"time"

	"github.com/innominatus/reconciler/pkg/postgres"
)

// The version in force stays, and so does the newest one.
const sqlPrune = `DELETE FROM platform_revisions WHERE id IN (SELECT id FROM platform_revisions r WHERE created_at < $1
AND EXISTS (SELECT FROM platform_revisions n WHERE n.id > r.id)
AND (NOT valid OR EXISTS (SELECT FROM platform_revisions n WHERE n.id > r.id AND n.valid)) LIMIT $2)`

// Prune forgets versions that were offered before a time.
func (s *Store) Prune(ctx context.Context, db postgres.Querier, before time.Time) error {
	return postgres.Prune(ctx, db, "versions of the platform configuration", sqlPrune, before)
}
