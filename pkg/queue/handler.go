package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Defaults of [Handler].
const (
	// DefaultTimeout ends handlers that hang; work that takes longer sets its own limit.
	DefaultTimeout = 15 * time.Minute
	// DefaultBackoffBase and DefaultBackoffCap give waits of about 2, 4, 8 … seconds, at most 5 minutes.
	DefaultBackoffBase = 2 * time.Second
	DefaultBackoffCap  = 5 * time.Minute
)

// Handler does the jobs of one kind.
type Handler struct {
	// Work does one job. nil means done. An error's fault class decides: permanent and refused bury the job at once,
	// retryable and conflict (and errors that are no faults) are tried again while attempts are left. [Snooze] puts the
	// job off without counting the attempt; [ErrSuperseded] makes way for the newer generation that waits. A panic is a
	// failed attempt.
	//
	// The context ends when the job must stop, with the reason as its cause: [ErrCancelled], [ErrLeaseLost],
	// [ErrTimeout] or [ErrShutdown]. A cancelled job that has not stopped after [CancelGrace] ends without it: its writes
	// are refused from then on, and its place here stays taken until Work returns.
	Work func(ctx context.Context, job *Job) error
	// OnEnd, if set, runs in the transaction that ends a started job otherwise than done, so that a failure is told as
	// reliably as a success. cause is the last error for a dead job, else [ErrCancelled] or [ErrSuperseded]. A job that
	// was cancelled while it waited is told by the process that cancelled it; one that was superseded while it waited is
	// told in the answer of [Queue.Enqueue]. An error rolls back, and the end is tried again: for as long as a lease by the
	// worker, and then by whoever takes over, until that has failed for as long as [Config.Bury].
	OnEnd func(ctx context.Context, tx pgx.Tx, job *Job, cause error) error
	// Timeout bounds one attempt; 0 means [DefaultTimeout], below 0 no limit.
	Timeout time.Duration
	// MaxAttempts is for jobs that do not say; 0 means [DefaultMaxAttempts].
	MaxAttempts int
	// BackoffBase is the wait after the first failure, doubled with each further one; 0 means [DefaultBackoffBase].
	BackoffBase time.Duration
	// BackoffCap is where doubling ends; 0 means [DefaultBackoffCap].
	BackoffCap time.Duration
}

// backoff returns how long to wait after the failed attempt: the exponential wait, give or take a half, and not less than
// the fault asks for.
func (h Handler) backoff(attempt int, err error) time.Duration {
	waits := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(orDefault(h.BackoffBase, DefaultBackoffBase)), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(orDefault(h.BackoffCap, DefaultBackoffCap)), backoff.WithMaxElapsedTime(0))
	for range attempt - 1 {
		waits.NextBackOff()
	}
	wait := waits.NextBackOff()
	if f, ok := fault.As(err); ok {
		wait = max(wait, f.After)
	}
	return wait
}

// snooze is the error that [Snooze] returns.
type snooze struct {
	wait   time.Duration
	reason string
}

// Error implements error.
func (s *snooze) Error() string { return fmt.Sprintf("put off for %s: %s", s.wait, s.reason) }

// Snooze returns an error that makes the queue run the job again after d without counting the attempt. The reason is
// shown while the job waits. The key stays taken.
func Snooze(d time.Duration, reason string) error { return &snooze{wait: max(d, 0), reason: reason} }

// verdict is what a handler's answer means for its job.
type verdict struct {
	// final is the state to end in, or Ready to go back to waiting if nothing stands against it.
	final State
	// cause is what OnEnd is told; nil when done.
	cause error
	// delay is how long to wait before the next attempt.
	delay time.Duration
	// giveBack is set when the attempt does not count.
	giveBack bool
	// code and text describe the failure, text "" for none; note says why the job was put off.
	code, text, note string
	// outcome is the label of metrics and logs.
	outcome string
}

// judge turns a handler's answer into a verdict. why is the cause of the context's end, nil if it has not ended.
func (q *Queue) judge(h Handler, job *Job, err, why error) verdict {
	var put *snooze
	switch {
	case err == nil:
		return verdict{final: Done, outcome: "done"}
	case errors.Is(why, ErrCancelled):
		return verdict{final: Cancelled, cause: ErrCancelled, outcome: "cancelled"}
	case errors.Is(why, ErrShutdown):
		return verdict{final: Ready, giveBack: true, outcome: "released"}
	case errors.Is(err, ErrSuperseded):
		return verdict{final: Superseded, cause: ErrSuperseded, outcome: "superseded"}
	case errors.As(err, &put):
		return verdict{final: Ready, giveBack: true, delay: put.wait, note: q.text(put.reason), outcome: "snoozed"}
	case errors.Is(why, ErrTimeout):
		err = fault.New(fault.JobTimedOut, "attempt %d of %s job %d reached its time limit: %w", job.Attempt, job.Kind, job.ID, err)
	}
	v := verdict{final: Ready, cause: err, text: q.text(err.Error()), outcome: "retried"}
	if f, ok := fault.As(err); ok {
		v.code = string(f.Code)
	}
	switch class := fault.ClassOf(err); {
	case class == fault.Permanent, class == fault.Refused, isBuried(err):
		v.final, v.outcome = Dead, "dead"
	default:
		v.delay = h.backoff(job.Attempt, err)
	}
	return v
}
