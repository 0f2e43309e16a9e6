package status

import (
	"context"
	"time"

	"github.com/innominatus/reconciler/pkg/postgres"
)

// What was sent or given up. A comment that is said again is found on the forge by its mark.
const sqlPrune = `DELETE FROM reports WHERE (repository, kind, target, context) IN
(SELECT repository, kind, target, context FROM reports WHERE changed_at < $1 AND (sent >= version OR dead) LIMIT $2)`

// Prune forgets reports of before a time.
func (o *Outbox) Prune(ctx context.Context, db postgres.Querier, before time.Time) error {
	return postgres.Prune(ctx, db, "reports", sqlPrune, before)
}
