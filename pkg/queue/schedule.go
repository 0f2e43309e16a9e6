package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// scheduled names the keys of scheduled jobs, and tells one that waits from those that others enqueue.
const scheduled = "schedule"

// schedule is a kind of job that comes back.
type schedule struct {
	kind   string
	period time.Duration
}

// Every has a job of the kind enqueued once per period for the whole installation, whichever replicas run; the first one
// at once. Its key is "schedule/KIND", so that one never runs beside the next, and while one waits no other is
// enqueued. Call it before [Queue.Run], with a handler set by [Queue.Handle] in each process that calls it. The period is
// counted by the database's clock and kept to within Config.Reap; it must be longer than that.
func (q *Queue) Every(kind string, period time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.schedules = append(q.schedules, schedule{kind: kind, period: period})
}

// scheduleLoop fires what is due. Each process does it; none leads.
func (w *worker) scheduleLoop(ctx context.Context) {
	w.q.every(ctx, w.q.cfg.Reap, "fire schedules", w.q.fire)
}

// fire enqueues the jobs that are due, in the transaction that moves their next time on.
func (q *Queue) fire(ctx context.Context) error {
	q.mu.RLock()
	schedules := slices.Clone(q.schedules)
	q.mu.RUnlock()
	kinds, periods := make([]string, len(schedules)), make([]int64, len(schedules))
	for i, s := range schedules {
		kinds[i], periods[i] = s.kind, s.period.Microseconds()
	}
	return pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sqlFire, kinds, periods)
		if err != nil {
			return fmt.Errorf("look for schedules that are due: %w", err)
		}
		due, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("look for schedules that are due: %w", err)
		}
		inserts := make([]Insert, len(due))
		for i, kind := range due {
			inserts[i] = Insert{Kind: kind, Key: scheduled + "/" + kind, Dedupe: scheduled}
		}
		_, err = q.Enqueue(ctx, tx, inserts...)
		return err
	})
}
