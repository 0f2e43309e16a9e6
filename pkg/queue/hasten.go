package queue

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Hasten lets the jobs of the key and kind that were put off (by [Snooze], by a retry's wait, by RunAt) run as soon as they
// can, and wakes workers when the transaction commits. One that is running now does not wait when it is put off, for
// it may have looked before what this call tells of happened. It says whether there was such a job. It takes the key's
// lock until the transaction ends, which should be short.
func (q *Queue) Hasten(ctx context.Context, tx pgx.Tx, kind, key string) (bool, error) {
	if err := lockKeys(ctx, tx, key); err != nil {
		return false, err
	}
	tag, err := tx.Exec(ctx, sqlHasten, key, kind)
	if err != nil {
		return false, fmt.Errorf("hasten %s jobs of %s: %w", kind, key, err)
	}
	return tag.RowsAffected() > 0, nil
}
