package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Querier is what statements run on: a pool, a connection or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Collect reads all rows into structs by the names of their columns. It takes what Query returns.
func Collect[T any](rows pgx.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}

// deadlocks is how often a transaction is tried that waits for one that waits for it.
const deadlocks = 5

// Begin runs f in a transaction for a person who would have to try again otherwise: where Postgres rolls it back because it and
// another one wait for each other, f is run anew. Jobs are tried again anyway.
func Begin(ctx context.Context, pool *pgxpool.Pool, f func(pgx.Tx) error) (err error) {
	for range deadlocks {
		if err = pgx.BeginFunc(ctx, pool, f); !deadlocked(err) {
			break
		}
	}
	return err
}

// deadlocked says that Postgres rolled a transaction back because it and another one waited for each other.
func deadlocked(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "40P01"
}
