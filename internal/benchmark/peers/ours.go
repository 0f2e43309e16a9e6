package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

var ours = peer{
	name: "reconciler", keys: true, recovers: time.Minute,
	left: "SELECT count(*) FROM jobs WHERE kind = 'bench'",
	took: "SELECT extract(epoch FROM started_at - created_at) * 1000 AS took FROM job_history WHERE kind = 'bench'",
	prepare: func(ctx context.Context, url string) error {
		_, _, err := postgres.Migrate(ctx, url)
		return err
	},
	enqueue: func(ctx context.Context, pool *pgxpool.Pool, jobs, keys, first int) error {
		const each = 500
		q := queue.New(pool, queue.Config{})
		for from := 0; from < jobs; from += each {
			var inserts []queue.Insert
			for n := from; n < min(from+each, jobs); n++ {
				key := "hangs"
				if keys != hangs {
					key = fmt.Sprint("key", (first+n)%keys)
				}
				inserts = append(inserts, queue.Insert{Kind: "bench", Key: key})
			}
			err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				_, err := q.Enqueue(ctx, tx, inserts...)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	},
	work: func(ctx context.Context, pool *pgxpool.Pool, places int, started func(context.Context, int)) error {
		q := queue.New(pool, queue.Config{Workers: places})
		q.Handle("bench", queue.Handler{Work: func(ctx context.Context, job *queue.Job) error {
			if job.Key == "hangs" {
				ctx = hanging(ctx)
			}
			started(ctx, job.Attempt)
			return nil
		}})
		return q.Run(ctx)
	},
}
