package apply

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/queue"
)

const (
	// releaseTimeout bounds an attempt of a release's step.
	releaseTimeout = 15 * time.Minute
	// checkpointTimeout bounds writing down how a step ended.
	checkpointTimeout = 10 * time.Second
)

// releaseRetry is how often a step of a release is tried: the waits add up to about 5 minutes (1, 2, 4, 8, 16, 32 and then
// 60 s), longer than a restart of what it delivers to.
var releaseRetry = golden.Retry{Attempts: 11, Wait: time.Second, Limit: time.Minute}

// attempt does a step once. A panic is a failed attempt.
func (e *engine) attempt(ctx context.Context, n *node) (r result, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.Log.Error().Any("panic", p).Bytes("stack", debug.Stack()).Str("step", n.Name).Msg("step panicked")
			err = fault.New(fault.JobPanicked, "step %s panicked: %v", n.Name, p)
		}
	}()
	ctx, span := e.Tracer.Start(ctx, "step "+n.Name)
	defer span.End()
	limit := releaseTimeout
	if n.step != nil {
		limit = n.step.Timeout
	}
	timed, cancel := context.WithTimeoutCause(ctx, limit, errStepTimeout)
	defer cancel()
	r, err = n.do(timed, n)
	if busy, ok := errors.AsType[*Busy](err); ok {
		return e.giveWay(busy), nil
	}
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(timed), errStepTimeout) {
		err = fault.New(fault.StepTimedOut, "step %s took longer than %s: %w", n.Name, limit, err)
	}
	if err != nil {
		span.RecordError(errors.New(e.Redactor.Redact(err.Error())))
	}
	return r, err
}

// broken is an error that says nothing of the step: the turn ends, and the next one does the step again.
type broken struct{ error }

// Unwrap returns the error itself.
func (b broken) Unwrap() error { return b.error }

func isBroken(err error) bool {
	var b broken
	return errors.As(err, &b)
}

var errStepTimeout = errors.New("the step's time is over")

// retry is how often a step is tried.
func (e *engine) retry(n *node) golden.Retry {
	switch {
	case n.step == nil && e.Retry.Attempts > 0:
		return e.Retry
	case n.step == nil:
		return releaseRetry
	case n.step.Retry != nil:
		return *n.step.Retry
	case n.step.HTTP != nil:
		return golden.DefaultRetry
	default:
		return golden.Retry{Attempts: 1}
	}
}

// finish writes down how a step's attempt ended.
func (e *engine) finish(ctx context.Context, end ended) error {
	n := end.node
	n.row.Detail = e.Redactor.Redact(end.detail)
	var err error
	switch {
	case errors.Is(end.err, queue.ErrLeaseLost), errors.Is(end.err, queue.ErrSuperseded), isBroken(end.err):
		return end.err
	case end.err != nil && ctx.Err() != nil:
		return context.Cause(ctx) // it did not fail: it was stopped
	case end.err != nil:
		err = e.failed(ctx, n, end.err)
	case end.park != nil:
		n.Until, n.row.Until, n.row.waits = end.park.until, &end.park.until, end.park.why
		n.row.AskedAt = end.park.asked
		err = e.tree.graph.Set(n.Node, graph.Parked)
	default:
		n.outputs, n.row.Fault, n.row.Until = end.result.outputs, nil, nil
		e.hide(n)
		err = e.tree.graph.Set(n.Node, graph.Succeeded)
	}
	if err != nil {
		return err
	}
	// What was done is done, even if the process is asked to stop right now.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkpointTimeout)
	defer cancel()
	return e.save(ctx, n)
}

// hide keeps the secrets that a step gave out of everything that people see.
func (e *engine) hide(n *node) {
	switch {
	case n.step == nil:
	case n.opens != nil:
		e.Redactor.Note(golden.Hidden(n.opens.path.Outputs, n.outputs)...)
	default:
		e.Redactor.Note(golden.Hidden(n.step.Outputs, n.outputs)...)
	}
}

// failed decides whether a step that failed is tried again. Attempts that were broken off are not the step's fault, and those
// of the run's job bound them.
func (e *engine) failed(ctx context.Context, n *node, failure error) error {
	why, retry, failures := fault.Of(failure)[0], e.retry(n), len(n.row.Failures)+1
	e.log(ctx, n.Name, "attempt %d failed: %v", n.row.Attempt, why)
	e.note(ctx, why)
	class := fault.ClassOf(failure)
	if failures >= retry.Attempts || class == fault.Permanent || class == fault.Refused {
		return e.fail(n, failure)
	}
	if n.step == nil {
		n.row.AskedAt = nil // it had its turn: the next attempt counts, and not before its time
	}
	n.Until = e.now().Add(max(delay(retry, failures), why.After))
	n.row.Until, n.row.Fault = &n.Until, e.redacted(why)
	n.row.failed(n.row.Fault)
	return e.tree.graph.Set(n.Node, graph.Parked)
}

// delay is the wait after a failure: doubled from one to the next, and varied by half.
func delay(r golden.Retry, failures int) (wait time.Duration) {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(r.Wait), backoff.WithMaxInterval(r.Limit), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0))
	for range failures {
		wait = b.NextBackOff()
	}
	return wait
}

// fail ends a step for good.
func (e *engine) fail(n *node, failure error) error {
	n.row.Fault = e.redacted(fault.Of(failure)[0])
	n.row.failed(n.row.Fault)
	return e.tree.graph.Set(n.Node, graph.Failed)
}

// parking puts a step off.
type parking struct {
	until time.Time
	// why is shown; "" if only time has to pass.
	why string
	// asked is since when people are asked, nil if they are not.
	asked *time.Time
}

// giveWay puts a delivery off that others are before. People see in the step what it waits for; nothing is asked of them.
func (e *engine) giveWay(b *Busy) result {
	now := e.now()
	return result{detail: b.Error(), park: &parking{until: now.Add(b.After), asked: &now}}
}

// wait is what a wait step does: it is put off once.
func (e *engine) wait(_ context.Context, n *node) (result, error) {
	if n.row.Until != nil {
		return result{detail: fmt.Sprintf("waited %s", n.step.Wait)}, nil
	}
	return result{park: &parking{until: e.now().Add(n.step.Wait)}}, nil
}
