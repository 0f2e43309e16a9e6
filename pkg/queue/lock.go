package queue

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Lock takes the locks of keys until the transaction ends, in an order that all take. Whoever locks rows of its own before
// it enqueues jobs of these keys, or finishes one, calls it first: the queue's own transactions have the locks before they
// call handlers.
func (q *Queue) Lock(ctx context.Context, tx pgx.Tx, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	return lockKeys(ctx, tx, keys...)
}
