package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// settleTimeout bounds one try to write how a job ended.
	settleTimeout = 10 * time.Second
	// settleRetry and settleRetryMax bound the pauses between tries while the lease is ours.
	settleRetry    = 50 * time.Millisecond
	settleRetryMax = 2 * time.Second
)

// do runs the handler and writes how the job ended.
func (w *worker) do(ctx context.Context, h *held) {
	job := h.job
	handler, ok := w.q.handler(job.Kind)
	if !ok {
		return // Handlers are never taken away; the lease would end and another process take the job.
	}
	began := time.Now()
	err, why := w.attempt(ctx, handler, h)
	took := time.Since(began)
	v := w.q.judge(handler, job, err, why)

	w.returned(h)
	outcome := w.conclude(ctx, h, v)
	w.q.metrics.attempt(job.Kind, outcome, took)
	event := w.log.Debug()
	switch {
	case outcome == "dead", outcome == "lost", v.text != "":
		event = w.log.Error().Str("error", v.text)
	case outcome != "done" && outcome != "snoozed": // to look and go on waiting changes nothing
		event = w.log.Info()
	}
	event.Str("kind", job.Kind).Str("key", job.Key).Int64("job", job.ID).Int("attempt", job.Attempt).
		Str("outcome", outcome).Dur("took", took).Msg("attempt ended")
}

// returned gives the place of a job free whose handler has returned: its end is written while the next one runs, if there may
// be one.
func (w *worker) returned(h *held) {
	w.mu.Lock()
	h.settling = true
	more := w.more
	w.mu.Unlock()
	if more {
		w.q.wakeNow()
	}
}

// attempt calls the handler within its time limit. why is the cause of its context's end, nil if that was not the reason
// to stop.
func (w *worker) attempt(ctx context.Context, handler Handler, h *held) (err, why error) {
	job := h.job
	if limit := orDefault(handler.Timeout, DefaultTimeout); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, ErrTimeout)
		defer cancel()
		// One that hears nothing must not hold its key for ever.
		defer time.AfterFunc(limit+CancelGrace, h.lose).Stop()
	}
	defer func() {
		if p := recover(); p != nil {
			w.log.Error().Str("kind", job.Kind).Str("key", job.Key).Int64("job", job.ID).
				Str("panic", w.q.text(fmt.Sprint(p))).Str("stack", w.q.text(string(debug.Stack()))).Msg("handler panicked")
			err = fault.New(fault.JobPanicked, "the handler of %s panicked: %v", job.Kind, p)
		}
		why = context.Cause(ctx)
	}()
	return handler.Work(ctx, job), nil
}

// conclude writes the verdict, again and again while the database does not answer or OnEnd fails, for as long as a lease, and
// while somebody else has the key. Then the job is let go, and whoever takes over its lease tries. It returns what came of it, as
// the label of metrics.
func (w *worker) conclude(ctx context.Context, h *held, v verdict) string {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(settleRetry), backoff.WithMaxInterval(settleRetryMax), backoff.WithMaxElapsedTime(0))
	unsure := false // A try may have been committed without an answer.
	for until := time.Now().Add(w.q.cfg.Lease); time.Now().Before(until); {
		select {
		case <-h.lost:
			return "lost"
		default:
		}
		outcome, err := w.write(ctx, h, v)
		switch {
		case err != nil:
		case outcome != "":
			return outcome
		case h.job.finishing.Load():
			return "done" // Its own transaction had ended it.
		case unsure && w.q.is(ctx, h.job.ID, v.final):
			return v.outcome
		default:
			return "lost"
		}
		unsure = true
		if errors.Is(err, errKeyBusy) {
			h.busy = !h.busy                      // in line for a while, and with all others again
			until = time.Now().Add(w.q.cfg.Lease) // it is ours as long as its heartbeats say so
			continue
		}
		w.log.Error().Err(err).Int64("job", h.job.ID).Msg("writing the end of a job failed")
		select {
		case <-h.lost:
			return "lost"
		case <-time.After(pause.NextBackOff()):
		}
	}
	return "lost"
}

// write writes the verdict once. "" means that the job is not ours any more.
func (w *worker) write(ctx context.Context, h *held, v verdict) (outcome string, err error) {
	ctx = context.WithoutCancel(ctx) // The job's own context is over when it was stopped.
	if v.final == Done && h.job.finishing.Load() {
		// Most often its own transaction has ended it: then it needs its key no more, which others have by now.
		if there, err := w.q.there(ctx, h.job); err == nil && !there {
			w.release(h)
			return "", nil
		}
	}
	if h.busy {
		return w.inLine(ctx, h, v)
	}
	if v.final != Done {
		ctx, cancel := context.WithTimeout(ctx, settleTimeout)
		defer cancel()
		return w.q.settle(ctx, h.job.ref(), v, finishPatience)
	}
	ours, err := w.complete(h)
	if err != nil || !ours {
		return "", err
	}
	return v.outcome, nil
}
