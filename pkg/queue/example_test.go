package queue_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/pkg/queue"
)

type deploy struct {
	Application, Environment string
}

// A room registers what it does with jobs of its kinds, and enqueues in the transaction that changes its own rows.
func Example() {
	var (
		ctx  context.Context
		pool *pgxpool.Pool // of a migrated database
	)
	q := queue.New(pool, queue.Config{})
	q.Handle("deploy", queue.Handler{
		Work: func(ctx context.Context, job *queue.Job) error {
			var args deploy
			if err := job.Bind(&args); err != nil {
				return err
			}
			select {
			case <-job.Superseded(): // A safe point to make way for the newer one.
				return queue.ErrSuperseded
			default:
			}
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				tag, err := tx.Exec(ctx, "UPDATE deployments SET state = 'live', token = $1 WHERE application = $2 AND token <= $1", job.Token, args.Application)
				if err != nil {
					return err
				}
				if tag.RowsAffected() == 0 {
					return queue.ErrLeaseLost // A later worker was here.
				}
				return job.Finish(ctx, tx)
			})
		},
		OnEnd: func(ctx context.Context, tx pgx.Tx, job *queue.Job, cause error) error {
			_, err := tx.Exec(ctx, "UPDATE deployments SET state = 'failed', reason = $1 WHERE token <= $2", cause.Error(), job.Token)
			return err
		},
	})
	enqueue := func(generation int64) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			answers, err := q.Enqueue(ctx, tx, queue.Insert{
				Kind: "deploy", Key: "shop/prod", Generation: generation, Args: deploy{"shop", "prod"},
			})
			if err != nil {
				return err
			}
			for _, replaced := range answers[0].Replaced {
				fmt.Println("never runs:", replaced.ID) // Say so in the same transaction.
			}
			return nil
		})
	}
	_ = enqueue
	_ = q.Run // until ctx ends
}
