package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// DefaultListLimit is a page of a list.
	DefaultListLimit = 50
	// listLimit is the longest page.
	listLimit = 500
)

// Failure is one failed attempt.
type Failure struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Worker  string    `json:"worker"`
	// Code is a code of the catalogue, or "".
	Code  string `json:"code"`
	Error string `json:"error"`
}

// Entry is a job, live or finished, as people see it.
type Entry struct {
	ID          int64     `json:"id"`
	Kind        string    `json:"kind"`
	Key         string    `json:"key"`
	State       State     `json:"state"`
	Attempt     int       `json:"attempt"`
	MaxAttempts int       `json:"maxAttempts"`
	Generation  int64     `json:"generation,omitempty"`
	Priority    int       `json:"priority"`
	Dedupe      string    `json:"dedupe,omitempty"`
	Owner       string    `json:"owner,omitempty"`
	Worker      string    `json:"worker,omitempty"`
	Note        string    `json:"note,omitempty"`
	RetryOf     int64     `json:"retryOf,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
	// RunAt is when it may run (again) at the earliest.
	RunAt      time.Time       `json:"runAt"`
	StartedAt  *time.Time      `json:"startedAt,omitempty"`
	FinishedAt *time.Time      `json:"finishedAt,omitempty"`
	Failures   []Failure       `json:"failures"`
	Args       json.RawMessage `json:"args"`
}

// Filter chooses jobs. Zero fields choose all.
type Filter struct {
	Kind, Key string
	States    []State
	// Limit is the length of a page; 0 means [DefaultListLimit], more than 500 means 500.
	Limit int
	// Before gives the page of jobs below this id.
	Before int64
}

// List returns jobs, newest first.
func (q *Queue) List(ctx context.Context, f Filter) ([]Entry, error) {
	var states []int16
	for _, s := range f.States {
		states = append(states, int16(s))
	}
	before, limit := orDefault(f.Before, math.MaxInt64), min(orDefault(f.Limit, DefaultListLimit), listLimit)
	sql, args := sqlList, []any{f.Kind, states, before, limit}
	if f.Key != "" {
		sql, args = sqlListKey, append(args, f.Key)
	}
	rows, err := q.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByName[Entry])
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return entries, nil
}

// Get returns a job with all its failed attempts, or a [fault.JobNotFound].
func (q *Queue) Get(ctx context.Context, id int64) (Entry, error) { return get(ctx, q.pool, id) }

func get(ctx context.Context, db sender, id int64) (Entry, error) {
	rows, err := db.Query(ctx, sqlGet, id)
	if err != nil {
		return Entry{}, fmt.Errorf("get job %d: %w", id, err)
	}
	entry, err := pgx.CollectOneRow(rows, pgx.RowToStructByName[Entry])
	if errors.Is(err, pgx.ErrNoRows) {
		return Entry{}, fault.New(fault.JobNotFound, "there is no job %d", id)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("get job %d: %w", id, err)
	}
	return entry, nil
}

// Cancel ends a waiting job at once, and asks the worker of a running one to stop it. why is shown with the job. A job
// that has ended gives a [fault.JobFinished].
func (q *Queue) Cancel(ctx context.Context, id int64, why string) error {
	return pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		entry, err := get(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := lockKeys(ctx, tx, entry.Key); err != nil {
			return err
		}
		note := q.text(why)
		rows, err := tx.Query(ctx, sqlCancelWaiting, id, note)
		if err != nil {
			return fmt.Errorf("cancel job %d: %w", id, err)
		}
		row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[jobRow])
		if err == nil {
			return q.cancelled(ctx, tx, row)
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("cancel job %d: %w", id, err)
		}
		tag, err := tx.Exec(ctx, sqlCancelRunning, id, note)
		if err != nil {
			return fmt.Errorf("cancel running job %d: %w", id, err)
		}
		if tag.RowsAffected() == 0 {
			return fault.New(fault.JobFinished, "job %d has ended", id)
		}
		return nil
	})
}

// cancelled tells the end of a job that was waiting, and lets the next of its key go.
func (q *Queue) cancelled(ctx context.Context, tx pgx.Tx, row jobRow) error {
	if _, err := tx.Exec(ctx, sqlPromote, row.Key); err != nil {
		return fmt.Errorf("start the next job of %s: %w", row.Key, err)
	}
	handler, known := q.handler(row.Kind)
	if !known || handler.OnEnd == nil {
		return nil
	}
	return tell(ctx, tx, handler, row.job(), ErrCancelled)
}

// Retry puts a dead job into the queue again, as a new job with the same arguments, and returns its id. One that is not
// dead gives a [fault.JobNotDead]; one that something newer has replaced a [fault.JobOutdated].
func (q *Queue) Retry(ctx context.Context, id int64) (again int64, err error) {
	err = pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		again, err = q.retry(ctx, tx, id)
		return err
	})
	return again, err
}

func (q *Queue) retry(ctx context.Context, tx pgx.Tx, id int64) (int64, error) {
	dead, err := get(ctx, tx, id)
	if err != nil {
		return 0, err
	}
	if dead.State != Dead {
		return 0, fault.New(fault.JobNotDead, "job %d is %s", id, dead.State)
	}
	if err := lockKeys(ctx, tx, dead.Key); err != nil {
		return 0, err
	}
	var outdated, retried bool
	if err := tx.QueryRow(ctx, sqlSince, dead.Key, dead.Kind, dead.Generation, id).Scan(&outdated, &retried); err != nil {
		return 0, fmt.Errorf("look for something newer than job %d: %w", id, err)
	}
	if outdated {
		return 0, fault.New(fault.JobOutdated, "a newer generation of %s %s than that of job %d has been asked for", dead.Kind, dead.Key, id)
	}
	if retried {
		return 0, fault.New(fault.JobNotDead, "job %d is being tried again already", id)
	}
	rows, err := tx.Query(ctx, sqlInsert, dead.Key, dead.Kind, dead.Generation, orNull(dead.Dedupe), dead.Priority, dead.Args, 0, dead.MaxAttempts, id, dead.Owner)
	if err != nil {
		return 0, fmt.Errorf("retry job %d: %w", id, err)
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[insertedRow])
	if err != nil {
		return 0, fmt.Errorf("retry job %d: %w", id, err)
	}
	return row.ID, nil
}

// Stat is how many jobs of a kind are in a live state, and how long the oldest has been ready to run, or has run. The
// oldest of jobs that wait for a later time have 0.
type Stat struct {
	Kind   string        `json:"kind"`
	State  State         `json:"state"`
	Count  int64         `json:"count"`
	Oldest time.Duration `json:"oldest"`
}

type statRow struct {
	Kind   string
	State  State
	Count  int64
	Oldest int64 // Microseconds.
}

// Stats counts the live jobs by kind and state.
func (q *Queue) Stats(ctx context.Context) ([]Stat, error) {
	rows, err := q.pool.Query(ctx, sqlStats)
	if err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	stats, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Stat, error) {
		r, err := pgx.RowToStructByName[statRow](row)
		return Stat{Kind: r.Kind, State: r.State, Count: r.Count, Oldest: time.Duration(r.Oldest) * time.Microsecond}, err
	})
	if err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	return stats, nil
}
