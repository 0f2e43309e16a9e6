package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// sweepTimeout bounds one turn of maintenance.
	sweepTimeout = 30 * time.Second
	// strandedLimit bounds how many keys one sweep repairs.
	strandedLimit = 100
)

// beat renews the leases of all held jobs in one statement, at once when a job was cancelled or superseded.
func (w *worker) beat(ctx context.Context) {
	timer := time.NewTimer(w.q.vary(w.q.cfg.Heartbeat))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.beatNow:
		}
		next := w.q.vary(w.q.cfg.Heartbeat)
		if err := w.renew(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn().Err(err).Msg("heartbeat failed")
			next = min(next, w.q.vary(errorPause))
		}
		timer.Reset(next)
	}
}

// beaten is what sqlBeat says about one lease.
type beaten struct {
	Token                         int64
	Held, Extended, Cancel, Newer bool
}

func (w *worker) renew(ctx context.Context) error {
	jobs := map[int64]*held{}
	var ids, tokens []int64
	for _, h := range w.holding() {
		if h.isLost() {
			continue // Given up: others wait for its lease to end.
		}
		jobs[h.job.Token] = h
		ids, tokens = append(ids, h.job.ID), append(tokens, h.job.Token)
	}
	if len(ids) == 0 {
		return nil
	}
	// Short enough to leave time for another try on another connection.
	ctx, cancel := context.WithTimeout(ctx, w.q.cfg.Lease/3)
	defer cancel()
	validUntil := w.validFrom(time.Now())
	rows, err := w.beatPool.Query(ctx, sqlBeat, ids, tokens, w.q.cfg.Lease.Microseconds())
	if err != nil {
		return fmt.Errorf("renew %d leases: %w", len(ids), err)
	}
	answers, err := pgx.CollectRows(rows, pgx.RowToStructByName[beaten])
	if err != nil {
		return fmt.Errorf("renew %d leases: %w", len(ids), err)
	}
	for _, b := range answers {
		w.renewed(jobs[b.Token], b, validUntil)
	}
	return nil
}

func (w *worker) renewed(h *held, b beaten, validUntil time.Time) {
	w.mu.Lock()
	if b.Extended {
		h.validUntil = validUntil
	}
	// A job on its way to its end may be gone already; who ends it will see.
	ending := h.settling || h.job.finishing.Load()
	w.mu.Unlock()
	if !b.Held {
		if !ending {
			w.log.Warn().Int64("job", h.job.ID).Str("key", h.job.Key).Msg("lease lost: another worker has the job")
			h.lose()
		}
		return
	}
	if b.Cancel {
		h.cancel(ErrCancelled)
	}
	if b.Newer {
		h.job.supersede()
	}
}

// watch stops jobs whose lease could not be renewed in time, by this machine's own clock: when the database cannot be
// asked, nobody else tells us that another worker may have taken over.
func (w *worker) watch(ctx context.Context) {
	ticker := time.NewTicker(min(w.margin()/4, time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		w.mu.Lock()
		var late []*held
		stuck := 0
		for _, h := range w.held {
			switch {
			case h.isLost() && !h.settling:
				stuck++
			case now.After(h.validUntil):
				late = append(late, h)
			}
		}
		w.mu.Unlock()
		w.q.metrics.stuck.Set(float64(stuck))
		for _, h := range late {
			h.lose()
		}
	}
}

// every calls f now and then until ctx ends. Errors are logged: the next turn tries again.
func (q *Queue) every(ctx context.Context, period time.Duration, act string, f func(context.Context) error) {
	for {
		turn, cancel := context.WithTimeout(ctx, sweepTimeout)
		if err := f(turn); err != nil && ctx.Err() == nil {
			q.cfg.Log.Error().Err(err).Str("act", act).Msg("maintenance failed")
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-time.After(q.vary(period)):
		}
	}
}

// sweepLoop measures, and looks for what must not be. Each process does it for itself.
func (w *worker) sweepLoop(ctx context.Context) {
	w.q.every(ctx, w.q.cfg.Sweep, "sweep", w.q.sweep)
}

func (q *Queue) sweep(ctx context.Context) error {
	stats, err := q.Stats(ctx)
	if err != nil {
		return err
	}
	pauses, err := q.Pauses(ctx)
	if err != nil {
		return err
	}
	q.metrics.measured(stats, pauses)
	// A transaction that began before the clock was set back may have ended after the correction.
	return errors.Join(q.promoteStranded(ctx), q.setBack(ctx))
}

// promoteStranded is belt and braces: it must find nothing.
func (q *Queue) promoteStranded(ctx context.Context) error {
	rows, err := q.pool.Query(ctx, sqlStranded, strandedLimit)
	if err != nil {
		return fmt.Errorf("look for stranded jobs: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for stranded jobs: %w", err)
	}
	for _, key := range keys {
		err := pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
			if err := lockKeys(ctx, tx, key); err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, sqlPromote, key)
			if err == nil && tag.RowsAffected() > 0 {
				q.metrics.stranded.Inc()
				q.cfg.Log.Error().Str("key", key).Msg("stranded job found and started; this is a bug")
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("start a stranded job of %s: %w", key, err)
		}
	}
	return nil
}
