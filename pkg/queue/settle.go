package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
)

// buryGrace is how long the end of an abandoned job waits for a process that has its handler and whose OnEnd works.
// After that it is buried without, so that it does not hold its key for ever.
const buryGrace = 10 * time.Minute

// jobRef names a running job and the attempt that is meant.
type jobRef struct {
	ID, Token int64
	Key, Kind string
}

// looked is what sqlLook says.
type looked struct {
	jobRow
	Cancel, Newer, Overdue bool
}

// settle ends the attempt of a running job by itself: back to waiting, or for good. It waits for each lock for as long
// as patience says, 0 for no bound, and returns what became of the attempt, "" if it is over already, or [errKeyBusy].
func (q *Queue) settle(ctx context.Context, ref jobRef, v verdict, patience time.Duration) (outcome string, err error) {
	err = pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLockPatience, patience.String()); err != nil {
			return fmt.Errorf("bound the wait for locks: %w", err)
		}
		outcome, err = q.settleIn(ctx, tx, ref, v, nil)
		return err
	})
	if isBusy(err) {
		err = errKeyBusy
	}
	if err != nil {
		return "", fmt.Errorf("settle job %d: %w", ref.ID, err)
	}
	q.settled(v, outcome)
	return outcome, nil
}

// settled wakes the claiming loop for what may run now or later.
func (q *Queue) settled(v verdict, outcome string) {
	switch outcome {
	case "":
	case "retried", "snoozed":
		q.wakeIn(v.delay)
	default:
		q.wakeNow()
	}
}

// settleIn is settle in a transaction. taken is set when it is not the worker who asks, but who takes the job
// from it: the lease that was not renewed.
func (q *Queue) settleIn(ctx context.Context, tx pgx.Tx, ref jobRef, v verdict, taken *time.Time) (string, error) {
	if err := lockKeys(ctx, tx, ref.Key); err != nil {
		return "", err
	}
	rows, err := tx.Query(ctx, sqlLook, ref.ID, ref.Token, taken, buryGrace.Microseconds())
	if err != nil {
		return "", fmt.Errorf("look at the job: %w", err)
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[looked])
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at the job: %w", err)
	}
	v = v.given(row)
	if _, known := q.handler(ref.Kind); taken != nil && v.final != Ready && !known && !row.Overdue {
		return "", nil // A process that has the handler can tell the end.
	}
	if v.final == Ready {
		return v.outcome, back(ctx, tx, ref, v)
	}
	return v.outcome, q.bury(ctx, tx, row, v)
}

// given changes a verdict by what has happened to the job meanwhile: a job that was cancelled is not tried again, nor
// one that a newer generation waits for, nor one without attempts left.
func (v verdict) given(row looked) verdict {
	switch {
	case v.final != Ready:
	case row.Cancel:
		v.final, v.cause, v.outcome = Cancelled, ErrCancelled, "cancelled"
	case row.Newer:
		v.final, v.cause, v.outcome = Superseded, ErrSuperseded, "superseded"
	case !v.giveBack && row.Attempt >= row.MaxAttempts:
		v.final, v.outcome = Dead, "dead"
	}
	return v
}

// back makes the job ready again.
func back(ctx context.Context, tx pgx.Tx, ref jobRef, v verdict) error {
	give := 0
	if v.giveBack {
		give = 1
	}
	_, err := tx.Exec(ctx, sqlBack, ref.ID, ref.Token, v.delay.Microseconds(), give, v.code, orNull(v.text), orNull(v.note))
	if err != nil {
		return fmt.Errorf("put the job back: %w", err)
	}
	return nil
}

// bury ends the job and tells its handler in the same transaction.
func (q *Queue) bury(ctx context.Context, tx pgx.Tx, row looked, v verdict) error {
	ours, err := finish(ctx, tx, ending{id: row.ID, token: row.Token, state: v.final, code: v.code, text: v.text})
	if err != nil || !ours {
		return err
	}
	// What has its key's place now may have none in this process.
	if _, err := tx.Exec(ctx, sqlTell); err != nil {
		return fmt.Errorf("wake workers: %w", err)
	}
	handler, known := q.handler(row.Kind)
	if !known || handler.OnEnd == nil || v.final == Done {
		return nil
	}
	if row.Overdue {
		q.cfg.Log.Error().Int64("job", row.ID).Str("kind", row.Kind).Str("key", row.Key).
			Msg("job buried without telling anybody: its OnEnd did not work for too long")
		return nil
	}
	return tell(ctx, tx, handler, row.job(), v.cause)
}

// tell calls OnEnd; a panic in it is an error.
func tell(ctx context.Context, tx pgx.Tx, h Handler, job *Job, cause error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.JobPanicked, "OnEnd of %s panicked: %v", job.Kind, p)
		}
	}()
	if err := h.OnEnd(ctx, tx, job, cause); err != nil {
		return fmt.Errorf("tell the end of %s job %d: %w", job.Kind, job.ID, err)
	}
	return nil
}
