package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Pause says that no job of a kind is started, until [Queue.Resume]. It lies in the database: restarts do not end it.
type Pause struct {
	// Kind is the kind of the jobs, "" for all.
	Kind   string    `json:"kind"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Pause has no replica start jobs of the kind ("" for all kinds) from now on. Jobs that run go on, and jobs are enqueued
// as ever. by and reason are shown; a pause that is there already gets them anew and keeps its time. A kind that this
// process has no handler for gives a [fault.QueueKindUnknown].
func (q *Queue) Pause(ctx context.Context, kind, by, reason string) error {
	if _, known := q.handler(kind); kind != "" && !known {
		return fault.New(fault.QueueKindUnknown, "there are no jobs of the kind %q", cut(kind, 50)).Suggest(fault.Nearest(kind, q.kinds()))
	}
	if _, err := q.pool.Exec(ctx, sqlPause, kind, q.text(by), q.text(reason)); err != nil {
		return fmt.Errorf("pause %q: %w", kind, err)
	}
	q.cfg.Log.Warn().Str("kind", kind).Str("by", by).Str("reason", reason).Msg("queue paused")
	return nil
}

// Resume ends a pause of exactly that kind, or gives a [fault.QueueNotPaused].
func (q *Queue) Resume(ctx context.Context, kind, by string) error {
	tag, err := q.pool.Exec(ctx, sqlResume, kind)
	if err != nil {
		return fmt.Errorf("resume %q: %w", kind, err)
	}
	if tag.RowsAffected() == 0 {
		return fault.New(fault.QueueNotPaused, "the queue has no pause of %s", pausedName(kind))
	}
	q.cfg.Log.Warn().Str("kind", kind).Str("by", by).Msg("queue resumed")
	return nil
}

func pausedName(kind string) string {
	if kind == "" {
		return "all kinds"
	}
	return "the kind " + cut(kind, 50)
}

// Pauses returns what is paused, by kind.
func (q *Queue) Pauses(ctx context.Context) ([]Pause, error) {
	rows, err := q.pool.Query(ctx, sqlPauses)
	if err != nil {
		return nil, fmt.Errorf("look for pauses: %w", err)
	}
	pauses, err := pgx.CollectRows(rows, pgx.RowToStructByName[Pause])
	if err != nil {
		return nil, fmt.Errorf("look for pauses: %w", err)
	}
	return pauses, nil
}
