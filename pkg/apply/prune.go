package apply

import (
	"context"
	"time"

	"github.com/innominatus/reconciler/pkg/postgres"
)

// Steps, logs, approvals and artefacts go with their run. The newest $3 runs of an application stay, and so does the newest
// that succeeded: a rollback goes back to it, however old it is. The newest of each name stays as well: what may still lie under
// a former name is known by it.
const sqlPruneRuns = `DELETE FROM runs WHERE id IN (SELECT id FROM runs r WHERE finished_at < $1
AND (SELECT count(*) FROM runs n WHERE n.application = r.application AND n.generation > r.generation) >= $3
AND (state <> 'succeeded' OR EXISTS (SELECT FROM runs n WHERE n.application = r.application AND n.generation > r.generation AND n.state = 'succeeded'))
AND EXISTS (SELECT FROM runs n WHERE n.application = r.application AND n.name = r.name AND n.generation > r.generation)
LIMIT $2)`

// Prune forgets runs that ended before a time, but not the newest of an application.
func (s *Store) Prune(ctx context.Context, db postgres.Querier, before time.Time, newest int) error {
	return postgres.Prune(ctx, db, "runs", sqlPruneRuns, before, newest)
}
