package postgres

import (
	"context"
	"fmt"
	"time"
)

// PruneLimit is how many rows one statement of [Prune] deletes: few enough to lock nobody out for long.
const PruneLimit = 500

// Prune repeats a statement that deletes up to $2 rows that are older than $1 until it finds none; more are its other
// arguments. what names the rows in errors.
func Prune(ctx context.Context, db Querier, what, statement string, before time.Time, more ...any) error {
	for {
		tag, err := db.Exec(ctx, statement, append([]any{before, PruneLimit}, more...)...)
		if err != nil {
			return fmt.Errorf("delete old %s: %w", what, err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
	}
}
