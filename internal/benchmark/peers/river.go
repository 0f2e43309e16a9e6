package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// arguments are those of River's jobs.
type arguments struct {
	Key int `json:"key"`
}

// Kind implements river.JobArgs.
func (arguments) Kind() string { return "bench" }

type riverWorker struct {
	river.WorkerDefaults[arguments]
	started func(context.Context, int)
}

// Work implements river.Worker.
func (w *riverWorker) Work(ctx context.Context, job *river.Job[arguments]) error {
	if job.Args.Key == hangs {
		ctx = hanging(ctx)
	}
	w.started(ctx, job.Attempt)
	return nil
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// riverDefault has River's defaults but for how many jobs run at once, for which there is none.
var riverDefault = riverPeer("River, defaults", 0, func(*river.Config) {})

// riverTuned fetches as often as River may, and takes jobs of killed workers back as early as it may.
var riverTuned = riverPeer("River, tuned", 3*time.Minute, func(c *river.Config) {
	c.FetchCooldown, c.FetchPollInterval = time.Millisecond, 50*time.Millisecond
	c.JobTimeout, c.RescueStuckJobsAfter = time.Second, time.Second
})

func riverPeer(name string, recovers time.Duration, tune func(*river.Config)) peer {
	return peer{
		name: name, recovers: recovers,
		left: "SELECT count(*) FROM river_job WHERE state <> 'completed'",
		took: "SELECT extract(epoch FROM attempted_at - created_at) * 1000 AS took FROM river_job",
		prepare: func(ctx context.Context, url string) error {
			pool, err := pgxpool.New(ctx, url)
			if err != nil {
				return err
			}
			defer pool.Close()
			migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet})
			if err != nil {
				return err
			}
			_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
			return err
		},
		enqueue: func(ctx context.Context, pool *pgxpool.Pool, jobs, keys, _ int) error {
			client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: quiet})
			if err != nil {
				return err
			}
			if jobs == 1 {
				return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					_, err := client.InsertTx(ctx, tx, arguments{keys}, nil)
					return err
				})
			}
			const each = 500
			for from := 0; from < jobs; from += each {
				params := make([]river.InsertManyParams, min(each, jobs-from))
				for i := range params {
					params[i] = river.InsertManyParams{Args: arguments{(from + i) % keys}}
				}
				if _, err := client.InsertMany(ctx, params); err != nil {
					return err
				}
			}
			return nil
		},
		work: func(ctx context.Context, pool *pgxpool.Pool, places int, started func(context.Context, int)) error {
			workers := river.NewWorkers()
			river.AddWorker(workers, &riverWorker{started: started})
			config := &river.Config{Logger: quiet, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: places}}}
			tune(config)
			client, err := river.NewClient(riverpgxv5.New(pool), config)
			if err != nil {
				return err
			}
			if err := client.Start(ctx); err != nil {
				return err
			}
			<-ctx.Done()
			return client.Stop(context.WithoutCancel(ctx))
		},
	}
}
