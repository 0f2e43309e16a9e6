package queue

import (
	"context"
	"fmt"
)

// maintenance is the kind of the queue's own job.
const maintenance = "maintenance"

// maintain deletes old history. Once for the whole installation is enough.
func (q *Queue) maintain(ctx context.Context, _ *Job) error {
	if q.cfg.Retention < 0 {
		return nil
	}
	for {
		tag, err := q.pool.Exec(ctx, sqlPrune, q.cfg.Retention.Microseconds())
		if err != nil {
			return fmt.Errorf("delete old jobs: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
	}
}
