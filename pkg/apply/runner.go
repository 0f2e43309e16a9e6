package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/secret"
)

// Queue is what runs need of the queue.
type Queue interface {
	Enqueuer
	// Hasten lets a job that was put off go on now.
	Hasten(ctx context.Context, tx pgx.Tx, kind, key string) (bool, error)
	List(ctx context.Context, f queue.Filter) ([]queue.Entry, error)
	Cancel(ctx context.Context, id int64, why string) error
}

// Runner executes runs.
type Runner struct {
	Pool    *pgxpool.Pool
	Queue   Queue
	Runs    *Store
	Planner *planner.Store
	// Platform returns the platform configuration in force.
	Platform func(ctx context.Context) (*platform.Platform, error)
	// Directory and GitOps are the targets.
	Directory, GitOps Target
	// Changed is told of every change of runs' states, in the transaction that changes them, of all that it changes at once.
	Changed func(ctx context.Context, tx pgx.Tx, runs ...Run) error
	// Redactor learns the secret values that a run handles.
	Redactor *secret.Redactor
	// Images are asked before a rollback; nil asks nobody.
	Images Images
	// Secrets are what requests of golden paths may carry, by name. The redactor knows them.
	Secrets map[string]string
	// Client sends the requests of http steps; nil means the standard one, which follows no redirects here.
	Client *http.Client
	// Retry is how often steps of releases are tried; zero means 11 times, which takes about 5 minutes.
	Retry  golden.Retry
	Tracer trace.Tracer
	Log    zerolog.Logger

	metrics metrics
	paths   paths
	// shared leads to what an environment's applications share.
	shared Lanes
}

const (
	// attempts is how often the work on a run may be broken off, by a worker that dies or a database that cannot be asked,
	// before it has failed. Steps that fail are tried again by themselves.
	attempts = 11
	// noteTimeout bounds writing down why an attempt failed.
	noteTimeout = 5 * time.Second
)

// Handler returns what the queue calls for jobs of [JobKind]. It has no time limit of its own: each step has one.
func (r *Runner) Handler() queue.Handler {
	return queue.Handler{
		Work: r.work, OnEnd: r.onEnd, Timeout: -1, MaxAttempts: attempts, BackoffBase: time.Second, BackoffCap: time.Minute,
	}
}

// execution is one worker's turn at a run.
type execution struct {
	*Runner
	run         Run
	environment *platform.Environment
	release     *planner.Release // nil for a removal
	// superseded is closed when a newer release waits.
	superseded <-chan struct{}
	// ahead is by how much the database's clock is ahead of this machine's.
	ahead time.Duration
}

// now is the time by the database's clock.
func (e *execution) now() time.Time { return time.Now().Add(e.ahead) }

func (r *Runner) work(ctx context.Context, job *queue.Job) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	run, err := r.begin(ctx, args.Run, job.Token, job.Attempt)
	if err != nil {
		return err
	}
	ctx, span := r.Tracer.Start(args.Trace.Continue(ctx), "run", trace.WithAttributes(
		attribute.String("environment", run.Environment), attribute.String("application", run.Name),
		attribute.Int64("generation", run.Generation), attribute.Int64("run", run.ID)))
	defer span.End()
	e := &execution{Runner: r, run: run, superseded: job.Superseded()}
	err = e.execute(ctx, job)
	if err != nil && !errors.Is(err, queue.ErrSuperseded) && !queue.IsSnooze(err) && ctx.Err() == nil {
		span.RecordError(errors.New(r.Redactor.Redact(err.Error())))
		e.note(ctx, fault.Of(err)[0])
	}
	return err
}

// begin takes the run for an attempt of its job and tells that it runs.
func (r *Runner) begin(ctx context.Context, id, token int64, attempt int) (run Run, err error) {
	err = pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		if run, err = r.Runs.begin(ctx, tx, id, token, attempt); err != nil {
			return err
		}
		return r.Changed(ctx, tx, run)
	})
	return run, err
}

// execute goes on with the run where it is, and ends it if it succeeded.
func (e *execution) execute(ctx context.Context, job *queue.Job) error {
	t, err := e.prepare(ctx)
	if err != nil {
		return err
	}
	if err := t.drive(ctx); err != nil {
		return err
	}
	return e.succeed(ctx, job)
}

// prepare loads what the run is about, and its steps; the first time, it stores them.
func (e *execution) prepare(ctx context.Context) (*engine, error) {
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
		e.Redactor.Note(e.release.SecretValues()...)
	}
	var now time.Time
	if err := e.Pool.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return nil, fmt.Errorf("ask the time: %w", err)
	}
	e.ahead = time.Until(now)
	return e.load(ctx)
}

// succeed ends the run and its job in one transaction with what follows from it.
func (e *execution) succeed(ctx context.Context, job *queue.Job) error {
	spared, err := e.spare(ctx)
	if err != nil {
		return err
	}
	var run Run
	err = pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if err := e.Runs.LockJobs(ctx, tx, e.Queue, e.run.Application); err != nil {
			return err
		}
		if err := e.Runs.fence(ctx, tx, e.run); err != nil {
			return err
		}
		if e.release == nil && len(spared.uids) == 0 {
			if err := e.Planner.Removed(ctx, tx, e.run.Application, e.run.Generation); err != nil {
				return err
			}
		} else if err := e.Planner.Applied(ctx, tx, e.run.Application, e.run.Generation); err != nil {
			return err
		}
		if run, _, err = e.Runs.end(ctx, tx, e.run.ID, Succeeded, nil); err != nil {
			return err
		}
		if err := e.Changed(ctx, tx, run); err != nil {
			return err
		}
		return job.Finish(ctx, tx)
	})
	if err != nil {
		return err
	}
	e.metrics.count(run)
	e.Log.Info().Str("environment", run.Environment).Str("application", run.Name).Int64("generation", run.Generation).
		Int64("run", run.ID).Int("writes", run.Writes).Msg("run succeeded")
	return nil
}

// note writes down why an attempt failed, for people who look while it waits for the next one.
func (e *execution) note(ctx context.Context, why *fault.Fault) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
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
