package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// CancelGrace is how long the handler of a cancelled job may take to stop. Then the job ends without it.
	CancelGrace = 2 * time.Second
	// takeOverWait bounds how long taking over one job waits for locks. Whoever holds them is alive; the others go first.
	takeOverWait = 250 * time.Millisecond
	// ClockStep is by how much the database's clock may go back without being corrected for: as servers of time do.
	ClockStep = 2 * time.Second
	// untoldGap is the longest time between two tries to tell an end that belong together. While the database is away nothing is
	// tried, and the count begins anew.
	untoldGap = time.Minute
)

// runningJob is a running job of any process as sqlRunning tells of it.
type runningJob struct {
	jobRef
	LeaseUntil time.Time
	LeaseUs    int64 // Microseconds.
	Cancel     bool
}

// sighting is what this process has seen of a running job, by its own monotonic clock.
type sighting struct {
	token      int64
	leaseUntil time.Time
	// since is when this lease was first seen, cancelled when the wish to stop it was; zero for never.
	since, cancelled time.Time
	// untold is since when its end could not be told, tried when that was tried last; zero for never.
	untold, tried time.Time
}

// reapLoop takes over jobs whose worker is gone. Each process does it; none leads.
//
// A worker is gone when its lease stayed as it was for as long as it lasts, by the clock of who watches: neither that of the
// database nor of the worker matters, and setting one of them forth or back takes no job from a worker that is alive and
// leaves none with one that is dead.
func (w *worker) reapLoop(ctx context.Context) {
	w.q.every(ctx, w.q.cfg.Reap, "take over abandoned jobs", func(ctx context.Context) error {
		return errors.Join(w.reap(ctx), w.watchClock(ctx))
	})
}

func (w *worker) reap(ctx context.Context) error {
	asked := time.Now()
	rows, err := w.q.pool.Query(ctx, sqlRunning, w.q.cfg.Lease.Microseconds())
	if err != nil {
		return fmt.Errorf("look for abandoned jobs: %w", err)
	}
	running, err := pgx.CollectRows(rows, pgx.RowToStructByName[runningJob])
	if err != nil {
		return fmt.Errorf("look for abandoned jobs: %w", err)
	}
	seen := make(map[int64]sighting, len(running))
	var first error
	for _, r := range running {
		s := w.seen[r.ID].again(r)
		seen[r.ID] = s
		if !s.abandoned(r, asked) {
			continue
		}
		hopeless := !s.untold.IsZero() && asked.Sub(s.tried) <= untoldGap && asked.Sub(s.untold) >= w.q.cfg.Bury
		err := w.q.takeOver(ctx, r, hopeless)
		if errors.Is(err, errUntold) {
			seen[r.ID] = s.failed(asked)
		}
		// One that cannot be ended must not keep the others waiting, and one of a kind that others know is nothing to tell of.
		if _, known := w.q.handler(r.Kind); first == nil && (known || !errors.Is(err, errUntold)) {
			first = err
		}
	}
	w.seen = seen
	return first
}

// again returns the sighting of the job after it was seen once more.
func (s sighting) again(r runningJob) sighting {
	now := time.Now()
	if s.token != r.Token {
		s = sighting{token: r.Token}
	}
	if !s.leaseUntil.Equal(r.LeaseUntil) {
		s.leaseUntil, s.since = r.LeaseUntil, now
	}
	if r.Cancel && s.cancelled.IsZero() {
		s.cancelled = now
	}
	return s
}

// failed returns the sighting after the job's end could not be told once more.
func (s sighting) failed(at time.Time) sighting {
	if s.untold.IsZero() || at.Sub(s.tried) > untoldGap {
		s.untold = at
	}
	s.tried = at
	return s
}

// abandoned says whether the job is to be taken from its worker, as of a question asked at that time.
func (s sighting) abandoned(r runningJob, asked time.Time) bool {
	lease := time.Duration(r.LeaseUs) * time.Microsecond
	return asked.Sub(s.since) >= lease || (!s.cancelled.IsZero() && asked.Sub(s.cancelled) >= CancelGrace)
}

// takeOver takes the job from its worker, without telling anybody if that is hopeless. It returns [errUntold] if only that is in the
// way.
func (q *Queue) takeOver(ctx context.Context, r runningJob, hopeless bool) error {
	cause := fault.New(fault.JobAbandoned, "its worker gave no sign of life, or did not stop when it was told to")
	v := verdict{final: Ready, cause: cause, code: string(cause.Code), text: cause.Message, outcome: "abandoned"}
	var outcome string
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, errSlowEnd)
	defer cancel()
	err := pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sqlLockPatience, takeOverWait.String())
		if err == nil {
			outcome, err = q.settleIn(ctx, tx, r.jobRef, v, &taking{r.LeaseUntil, hopeless})
		}
		if err == nil && outcome != "" {
			_, err = tx.Exec(ctx, sqlSignal, r.ID) // Its worker may be alive.
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("take over job %d: %w", r.ID, err)
	}
	if outcome == "" {
		return nil
	}
	q.metrics.finished.WithLabelValues(r.Kind, outcome).Inc()
	q.cfg.Log.Warn().Int64("job", r.ID).Str("kind", r.Kind).Str("key", r.Key).Str("outcome", outcome).Msg("abandoned job taken over")
	q.wakeNow()
	return nil
}

// watchClock notices that the database's clock was set back. It looks by this machine's monotonic clock.
func (w *worker) watchClock(ctx context.Context) error {
	asked := time.Now()
	var now time.Time
	if err := w.q.pool.QueryRow(ctx, sqlNow).Scan(&now); err != nil {
		return fmt.Errorf("look at the clock: %w", err)
	}
	if expected := w.clock.Add(asked.Sub(w.clockAsked)); !w.clock.IsZero() && now.Before(expected.Add(-ClockStep)) {
		w.log.Warn().Dur("back", expected.Sub(now)).Msg("the database's clock was set back")
		if err := w.q.setBack(ctx); err != nil {
			return err
		}
	}
	w.clock, w.clockAsked = now, asked
	return nil
}

// setBack lets those jobs go whose time to start comes from a clock that was set back since: all of them would wait for that
// time to come again, also those that were to start at once.
func (q *Queue) setBack(ctx context.Context) error {
	tag, err := q.pool.Exec(ctx, sqlSetBack, ClockStep.Microseconds())
	if err != nil {
		return fmt.Errorf("correct for the clock: %w", err)
	}
	if n := tag.RowsAffected(); n > 0 {
		q.cfg.Log.Warn().Int64("jobs", n).Msg("jobs waited for a time of a clock that was set back")
		q.wakeNow()
	}
	return nil
}
