package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// maintenance is the kind of the queue's own job.
	maintenance = "maintenance"
	// week is what one partition of the history holds. Fewer and larger ones keep rows longer beyond their time, more and
	// smaller ones make it slower to find a job by its number.
	week = 7 * 24 * time.Hour
	// weeksAhead is how many partitions are made before they are needed.
	weeksAhead = 2
	// partitionWait bounds how long making or dropping a partition waits for locks: whoever ends a job waits behind it.
	partitionWait = time.Second
	// partitionName is the start of a partition's name; the day of its first hour follows.
	partitionName = "job_history_"
	partitionDay  = "20060102"
	// checkViolation is the SQLSTATE of rows that a new partition would take from the default one.
	checkViolation = "23514"
)

// maintain makes partitions of the history ahead of time and drops old ones. Rows of weeks without a partition lie in the
// default one, and are deleted from it.
func (q *Queue) maintain(ctx context.Context, _ *Job) error {
	var now time.Time
	if err := q.pool.QueryRow(ctx, sqlNow).Scan(&now); err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	var errs []error
	for ahead := 1; ahead <= weeksAhead; ahead++ {
		errs = append(errs, q.makePartition(ctx, now.Add(time.Duration(ahead)*week)))
	}
	if q.cfg.Retention >= 0 {
		errs = append(errs, q.dropPartitions(ctx, now.Add(-q.cfg.Retention)), q.prune(ctx))
	}
	return errors.Join(errs...)
}

// monday returns the beginning of t's week in UTC.
func monday(t time.Time) time.Time {
	t = t.UTC().Truncate(24 * time.Hour)
	return t.AddDate(0, 0, -(int(t.Weekday())+6)%7)
}

// makePartition makes the partition of the week of a time, if it is not there.
func (q *Queue) makePartition(ctx context.Context, at time.Time) error {
	from := monday(at)
	name := partitionName + from.Format(partitionDay)
	err := q.alterHistory(ctx, func(tx pgx.Tx) error {
		var there bool
		if err := tx.QueryRow(ctx, sqlTable, name).Scan(&there); err != nil || there {
			return err
		}
		// Attached and not made in its place, for that would lock out those who write the history. Who reads it waits only while the
		// default partition is looked through, which has no more than what was there before there were partitions.
		_, err := tx.Exec(ctx, fmt.Sprintf("CREATE TABLE %[1]s (LIKE job_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS); ALTER TABLE job_history ATTACH PARTITION %[1]s FOR VALUES FROM ('%[2]s') TO ('%[3]s')",
			name, from.Format(time.RFC3339), from.Add(week).Format(time.RFC3339)))
		return err
	})
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == checkViolation {
		q.cfg.Log.Warn().Str("partition", name).Msg("the default partition has jobs of this week, as after a clock that was wrong: they stay there")
		return nil
	}
	if err != nil {
		return fmt.Errorf("make partition %s: %w", name, err)
	}
	return nil
}

// dropPartitions drops those whose last job ended before a time.
func (q *Queue) dropPartitions(ctx context.Context, before time.Time) error {
	rows, err := q.pool.Query(ctx, sqlPartitions)
	if err != nil {
		return fmt.Errorf("list partitions: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list partitions: %w", err)
	}
	for _, name := range names {
		from, err := time.Parse(partitionName+partitionDay, name)
		if err != nil || from.Add(week).After(before) {
			continue // The default one, or not over.
		}
		err = q.alterHistory(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "DROP TABLE "+pgx.Identifier{name}.Sanitize())
			return err
		})
		if err != nil {
			return fmt.Errorf("drop partition %s: %w", name, err)
		}
	}
	return nil
}

func (q *Queue) alterHistory(ctx context.Context, act func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLockPatience, partitionWait.String()); err != nil {
			return err
		}
		return act(tx)
	})
}

// prune deletes old jobs of the default partition.
func (q *Queue) prune(ctx context.Context) error {
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
