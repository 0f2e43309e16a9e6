package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/innominatus/reconciler/pkg/fault"
)

// jobRef names a running job and the attempt that is meant.
type jobRef struct {
	ID, Token int64
	Key, Kind string
}

// errSlowEnd is why the end of a job is not written: its OnEnd takes longer than anything else may.
var errSlowEnd = errors.New("telling the end takes too long")

// looked is what sqlLook says.
type looked struct {
	jobRow
	Cancel, Newer bool
}

// taking is what the taker of an abandoned job knows: the lease that was not renewed, and that its end could not be told for
// so long that it is given up.
type taking struct {
	lease    time.Time
	hopeless bool
}

// errUntold says that there is nothing in the way of a job's end but that nobody could be told: this process does not have the
// handler, or its OnEnd failed.
var errUntold = errors.New("the end of the job cannot be told")

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

// settleIn is settle in a transaction. taken is set when it is not the worker who asks, but who takes the job from it.
func (q *Queue) settleIn(ctx context.Context, tx pgx.Tx, ref jobRef, v verdict, taken *taking) (string, error) {
	if err := lockKeys(ctx, tx, ref.Key); err != nil {
		return "", err
	}
	var lease *time.Time
	if taken != nil {
		lease = &taken.lease
	}
	rows, err := tx.Query(ctx, sqlLook, ref.ID, ref.Token, lease)
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
	if v.final == Ready {
		return v.outcome, back(ctx, tx, ref, v)
	}
	hopeless := taken != nil && taken.hopeless
	if _, known := q.handler(ref.Kind); taken != nil && !known && !hopeless {
		return "", errUntold // A process that has the handler can tell it.
	}
	return v.outcome, q.bury(ctx, tx, row, v, hopeless)
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

// bury ends the job and tells its handler in the same transaction; nobody is told of one that is hopeless.
func (q *Queue) bury(ctx context.Context, tx pgx.Tx, row looked, v verdict, hopeless bool) error {
	ours, err := finish(ctx, tx, ending{id: row.ID, token: row.Token, state: v.final, code: v.code, text: v.text})
	if err != nil || !ours {
		return err
	}
	// What has its key's place now may have none in this process.
	if _, err := tx.Exec(ctx, sqlTell); err != nil {
		return fmt.Errorf("wake workers: %w", err)
	}
	if hopeless {
		q.cfg.Log.Error().Int64("job", row.ID).Str("kind", row.Kind).Str("key", row.Key).
			Msg("job buried without telling anybody: that did not work for too long")
		return nil
	}
	handler, known := q.handler(row.Kind)
	if !known || handler.OnEnd == nil || v.final == Done {
		return nil
	}
	err = tell(ctx, tx, handler, row.job(), v.cause)
	slow := errors.Is(context.Cause(ctx), errSlowEnd)
	if err != nil && (slow || ctx.Err() == nil && !tx.Conn().IsClosed() && !isDatabase(err)) {
		return errors.Join(errUntold, err)
	}
	return err
}

// isDatabase says that it is the database that is in the way: it has no room or no resources, stops, lets nobody write for now, or
// somebody has a lock.
func isDatabase(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	return slices.Contains([]string{"08", "40", "53", "55", "57", "58"}, pg.Code[:min(2, len(pg.Code))]) || pg.Code == "25006"
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
