package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/secret"
)

// Runner executes runs.
type Runner struct {
	Pool    *pgxpool.Pool
	Queue   Enqueuer
	Runs    *Store
	Planner *planner.Store
	// Platform returns the platform configuration in force.
	Platform func(ctx context.Context) (*platform.Platform, error)
	// Directory and GitOps are the targets.
	Directory, GitOps Target
	// Changed is told of every change of a run's state, in the transaction that changes it.
	Changed func(ctx context.Context, tx pgx.Tx, run Run) error
	// Redactor learns the secret values that a run handles.
	Redactor *secret.Redactor
	Tracer   trace.Tracer
	Log      zerolog.Logger

	metrics metrics
}

const (
	// attempts is how often a run is tried before it has failed for good: the waits of the back-off below add up to about
	// 5 minutes (1, 2, 4, 8, 16, 32 and then 60 s), longer than a restart of what it delivers to.
	attempts = 11
	// timeout bounds one attempt of a run.
	timeout = 15 * time.Minute
	// noteTimeout bounds writing down why an attempt failed.
	noteTimeout = 5 * time.Second
)

// Handler returns what the queue calls for jobs of [JobKind].
func (r *Runner) Handler() queue.Handler {
	return queue.Handler{
		Work: r.work, OnEnd: r.onEnd, Timeout: timeout, MaxAttempts: attempts,
		BackoffBase: time.Second, BackoffCap: time.Minute,
	}
}

// execution is one attempt of a run.
type execution struct {
	*Runner
	run         Run
	environment *platform.Environment
	release     *planner.Release // nil for a removal
}

func (r *Runner) work(ctx context.Context, job *queue.Job) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	run, err := r.begin(ctx, args.Run, job.Token)
	if err != nil {
		return err
	}
	ctx, span := r.Tracer.Start(args.Trace.Continue(ctx), "run", trace.WithAttributes(
		attribute.String("environment", run.Environment), attribute.String("application", run.Name),
		attribute.Int64("generation", run.Generation), attribute.Int64("run", run.ID)))
	defer span.End()
	e := &execution{Runner: r, run: run}
	err = e.execute(ctx, job)
	if err != nil && !errors.Is(err, queue.ErrSuperseded) && ctx.Err() == nil {
		span.RecordError(err)
		e.noteFailure(ctx, err)
	}
	return err
}

// begin takes the run and tells that it runs.
func (r *Runner) begin(ctx context.Context, id, token int64) (run Run, err error) {
	err = pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		if run, err = r.Runs.begin(ctx, tx, id, token); err != nil {
			return err
		}
		return r.Changed(ctx, tx, run)
	})
	return run, err
}

// execute does the steps that are not done yet, one after the other in the order of the graph, and ends the run.
func (e *execution) execute(ctx context.Context, job *queue.Job) error {
	steps, err := e.prepare(ctx)
	if err != nil {
		return err
	}
	stored, err := e.Runs.Steps(ctx, e.Pool, e.run.ID)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, s := range stored {
		done[s.Name] = s.State == StepSucceeded
	}
	for _, s := range steps {
		select {
		case <-job.Superseded():
			return queue.ErrSuperseded
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		// A step that delivers is done again by every attempt: it is the one whose effect others can undo, and it writes
		// nothing if nothing is to be written.
		if done[s.name] && !s.always {
			continue
		}
		if err := e.step(ctx, s); err != nil {
			return err
		}
	}
	return e.succeed(ctx, job)
}

// prepare loads what the run is about and stores its graph.
func (e *execution) prepare(ctx context.Context) ([]step, error) {
	p, err := e.Platform(ctx)
	if err != nil {
		return nil, err
	}
	if e.environment, err = p.Environment(e.run.Environment); err != nil {
		return nil, err
	}
	if e.release, err = e.Planner.Release(ctx, e.Pool, e.run.Application, e.run.Generation); err != nil {
		return nil, err
	}
	if e.release != nil {
		e.Redactor.Add(e.release.SecretValues()...)
	}
	steps := e.steps()
	err = pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if err := e.Runs.fence(ctx, tx, e.run); err != nil {
			return err
		}
		for i, s := range steps {
			if _, err := tx.Exec(ctx, sqlInsertStep, e.run.ID, i, s.name, append([]string{}, s.needs...)); err != nil {
				return fmt.Errorf("store step: %w", err)
			}
		}
		return nil
	})
	return steps, err
}

// step does one step and stores its end.
func (e *execution) step(ctx context.Context, s step) error {
	ctx, span := e.Tracer.Start(ctx, "step "+s.name)
	defer span.End()
	err := pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if err := e.Runs.fence(ctx, tx, e.run); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlStartStep, e.run.ID, s.name)
		return fault.While("start step", err)
	})
	if err != nil {
		return err
	}
	detail, failure := s.do(ctx, s.name)
	state, cause := StepSucceeded, (*fault.Fault)(nil)
	if failure != nil {
		state, cause = StepFailed, fault.Of(failure)[0]
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	err = pgx.BeginFunc(ending, e.Pool, func(tx pgx.Tx) error {
		if err := e.Runs.fence(ending, tx, e.run); err != nil {
			return err
		}
		_, err := tx.Exec(ending, sqlEndStep, e.run.ID, s.name, state, e.Redactor.Redact(detail), e.redacted(cause))
		return fault.While("end step", err)
	})
	if failure != nil {
		return failure
	}
	return err
}

// succeed ends the run and its job in one transaction with what follows from it.
func (e *execution) succeed(ctx context.Context, job *queue.Job) error {
	return pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if err := e.Runs.fence(ctx, tx, e.run); err != nil {
			return err
		}
		if e.release == nil {
			if err := e.Planner.Removed(ctx, tx, e.run.Application, e.run.Generation); err != nil {
				return err
			}
		} else if err := e.Planner.Applied(ctx, tx, e.run.Application, e.run.Generation); err != nil {
			return err
		}
		run, err := e.Runs.end(ctx, tx, e.run.ID, Succeeded, nil)
		if err != nil {
			return err
		}
		e.metrics.count(run)
		e.Log.Info().Str("environment", run.Environment).Str("application", run.Name).Int64("generation", run.Generation).
			Int64("run", run.ID).Int("writes", run.Writes).Msg("run succeeded")
		if err := e.Changed(ctx, tx, run); err != nil {
			return err
		}
		return job.Finish(ctx, tx)
	})
}

// noteFailure writes down why the attempt failed, for people who look while it waits for the next one.
func (e *execution) noteFailure(ctx context.Context, failure error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	why := fault.Of(failure)[0]
	e.log(ctx, "run", "attempt %d failed: %v", e.run.Attempt, why)
	if _, err := e.Pool.Exec(ctx, sqlNoteFault, e.run.ID, e.run.Token, e.redacted(why)); err != nil {
		e.Log.Warn().Err(err).Int64("run", e.run.ID).Msg("failure of run not noted")
	}
}

// redacted returns a copy of a fault without known secret values; nil stays nil.
func (r *Runner) redacted(f *fault.Fault) *fault.Fault {
	if f == nil {
		return nil
	}
	clean := *f
	clean.Message, clean.Remedy, clean.Excerpt = r.Redactor.Redact(f.Message), r.Redactor.Redact(f.Remedy), r.Redactor.Redact(f.Excerpt)
	return &clean
}

func (e *execution) log(ctx context.Context, step, format string, args ...any) {
	line := e.Redactor.Redact(fmt.Sprintf(format, args...))
	if _, err := e.Pool.Exec(ctx, sqlLog, e.run.ID, step, line, e.run.Token); err != nil {
		e.Log.Warn().Err(err).Int64("run", e.run.ID).Msg("line of run's log lost")
	}
}
