package gitwatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/trace"
)

// JobKind is the kind of the queue's jobs that look at a repository.
const JobKind = "look"

const (
	// lookTimeout bounds one look: a question to the remote, and one page of pull requests per 50.
	lookTimeout = 2 * time.Minute
	// jitter is by how much the time between looks varies, so that a thousand repositories do not ask together.
	jitter = 0.2
	// failingLimit is the longest wait between looks at a repository that fails.
	failingLimit = 10 * time.Minute
	// missedLooks is after how many intervals without a look one is asked for anew: a job can be lost by nobody but a
	// person who deletes rows.
	missedLooks = 3
)

// Sink acts on what was seen, in the transaction that stores it.
type Sink interface {
	// Moved tells that a branch is at another commit, or gone.
	Moved(ctx context.Context, tx pgx.Tx, r Repository, ref Ref) error
	// Seen tells that a pull request is new or changed.
	Seen(ctx context.Context, tx pgx.Tx, r Repository, p Pull) error
	// Changed tells that a repository is watched in another way: what was seen of it may mean something else.
	Changed(ctx context.Context, tx pgx.Tx, r Repository) error
}

// Enqueuer is what the watcher needs of the queue.
type Enqueuer interface {
	Enqueue(ctx context.Context, tx pgx.Tx, inserts ...queue.Insert) ([]queue.Enqueued, error)
}

// Watcher looks at repositories.
type Watcher struct {
	Pool  *pgxpool.Pool
	Queue Enqueuer
	Sink  Sink
	// ListRefs asks a repository's remote for the refs below prefixes; no refs is an answer, not an error.
	ListRefs func(ctx context.Context, r Repository, prefixes []string) (map[string]string, error)
	// Forge returns the forge of a name; nil for "".
	Forge func(name string) (forge.Forge, error)
	// DefaultPaths find Score files in repositories that do not say where theirs are.
	DefaultPaths []string
	Tracer       oteltrace.Tracer
	Log          zerolog.Logger

	looks *prometheus.CounterVec
}

// Collectors returns the watcher's metrics; call it once, before the watcher is used.
func (w *Watcher) Collectors() []prometheus.Collector {
	w.looks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "reconciler_looks_total", Help: "Looks at repositories by outcome.",
	}, []string{"outcome"})
	return []prometheus.Collector{w.looks}
}

// Handler returns what the queue calls for jobs of [JobKind].
func (w *Watcher) Handler() queue.Handler {
	return queue.Handler{Work: w.look, Timeout: lookTimeout, BackoffBase: time.Second, BackoffCap: time.Minute, MaxAttempts: 100}
}

type jobArgs struct {
	Repository string `json:"repository"`
	// Trace is what asked for the look; a look that is only due has none.
	Trace trace.Parent `json:"trace,omitempty"`
}

// Put adds or changes a repository and looks at it at once. What the configuration holds only the configuration changes.
func (w *Watcher) Put(ctx context.Context, tx pgx.Tx, r Repository) error {
	changed, err := put(ctx, tx, r)
	if err != nil || !changed {
		return err
	}
	if err := w.Sink.Changed(ctx, tx, r); err != nil {
		return err
	}
	return w.Hint(ctx, tx, r.Name)
}

// Configure makes the repositories of the configuration those that are watched; those that were added through the API
// stay.
func (w *Watcher) Configure(ctx context.Context, tx pgx.Tx, list []Repository) error {
	known, err := Repositories(ctx, tx)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, r := range list {
		wanted[r.Name] = true
		if err := w.Put(ctx, tx, r); err != nil {
			return err
		}
	}
	for _, r := range known {
		if r.Origin == Configuration && !wanted[r.Name] {
			if err := drop(ctx, tx, r.Name, Configuration); err != nil {
				return err
			}
		}
	}
	return nil
}

// Drop stops watching a repository that was added through the API. Its applications stay as they are.
func (w *Watcher) Drop(ctx context.Context, tx pgx.Tx, name string) error {
	return drop(ctx, tx, name, API)
}

const (
	sqlNextLook = `UPDATE repositories SET looks = looks + 1 WHERE name = $1 AND removed_at IS NULL RETURNING looks`
	sqlLooks    = `SELECT looks FROM repositories WHERE name = $1 FOR UPDATE`
)

// Hint asks for a look at a repository now. A look that waits for its time makes way; one that runs is followed by
// another, because it may have asked before what the hint is about happened.
func (w *Watcher) Hint(ctx context.Context, tx pgx.Tx, repository string) error {
	return w.enqueue(ctx, tx, repository, time.Time{})
}

func (w *Watcher) enqueue(ctx context.Context, tx pgx.Tx, repository string, at time.Time) error {
	args := jobArgs{Repository: repository}
	if at.IsZero() {
		args.Trace = trace.From(ctx)
	}
	look, ok, err := moved(tx.QueryRow(ctx, sqlNextLook, repository))
	if err != nil || !ok {
		return fault.While("ask for a look", err)
	}
	_, err = w.Queue.Enqueue(ctx, tx, queue.Insert{
		Kind: JobKind, Key: "repository/" + repository, Owner: repository, Generation: look, RunAt: at, Args: args,
	})
	return fault.While("enqueue look", err)
}

// sighting is what one look saw.
type sighting struct {
	// refs are nil if the remote did not answer.
	refs  map[string]string
	pulls []forge.Pull
	// ended are pull requests that are not open any more.
	ended []forge.Pull
}

func (w *Watcher) look(ctx context.Context, job *queue.Job) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	r, err := Get(ctx, w.Pool, args.Repository)
	if err != nil || r.RemovedAt != nil {
		return err
	}
	ctx, span := w.Tracer.Start(args.Trace.Continue(ctx), "look at repository")
	defer span.End()
	seen, failure := w.see(ctx, r)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	outcome := "ok"
	if failure != nil {
		outcome = fault.ClassOf(failure).String()
		w.Log.Warn().Err(failure).Str("repository", r.Name).Msg("repository cannot be looked at")
	}
	w.looks.WithLabelValues(outcome).Inc()
	return pgx.BeginFunc(ctx, w.Pool, func(tx pgx.Tx) error {
		// The remote's refs are the truth: they count although the forge did not tell its pull requests.
		if seen.refs != nil {
			gone, err := w.note(ctx, tx, r, seen)
			if err != nil {
				return err
			}
			if failure == nil {
				failure = gone
			}
		}
		if err := w.next(ctx, tx, job, r, seen.refs != nil, failure); err != nil {
			return err
		}
		return job.Finish(ctx, tx)
	})
}

// see asks the remote and the forge. What was seen until an error counts, but of pull requests all or none.
func (w *Watcher) see(ctx context.Context, r Repository) (seen sighting, err error) {
	prefixes := make([]string, 0, len(r.Branches))
	for b := range r.Branches {
		prefixes = append(prefixes, "refs/heads/"+b)
	}
	if seen.refs, err = w.ListRefs(ctx, r, prefixes); err != nil {
		return seen, err
	}
	f, err := w.Forge(r.Forge)
	if err != nil || f == nil {
		return seen, err
	}
	seen.pulls, seen.ended, err = w.seePulls(ctx, r, f)
	return seen, err
}

func (w *Watcher) seePulls(ctx context.Context, r Repository, f forge.Forge) (pulls, ended []forge.Pull, err error) {
	if pulls, err = f.Pulls(ctx, r.Name); err != nil {
		return nil, nil, err
	}
	open := map[int64]bool{}
	for _, p := range pulls {
		open[p.Number] = true
	}
	before, err := Pulls(ctx, w.Pool, r.Name, forge.Open)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range before {
		if open[p.Number] {
			continue
		}
		now, err := f.Pull(ctx, r.Name, p.Number)
		if errors.Is(err, forge.ErrNotFound) {
			now, err = forge.Pull{Number: p.Number, State: forge.Closed, Title: p.Title, HeadCommit: p.HeadCommit, BaseRef: p.BaseRef}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		ended = append(ended, now)
	}
	return pulls, ended, nil
}

// note stores what was seen and tells the sink what is new. gone is a fault if a branch that was there is not any more.
func (w *Watcher) note(ctx context.Context, tx pgx.Tx, r Repository, seen sighting) (gone, err error) {
	// A merge is noted before the branch moves: whoever evaluates the branch finds the pull request.
	for _, p := range append(seen.ended, seen.pulls...) {
		if _, followed := r.Branches[p.BaseRef]; !followed {
			// One that was known and points elsewhere now must not be planned for its old base, nor be asked for for ever.
			if _, known, err := GetPull(ctx, tx, r.Name, p.Number); err != nil {
				return nil, err
			} else if !known {
				continue
			}
		}
		if err := w.notePull(ctx, tx, r, p, seen.refs["refs/heads/"+p.BaseRef]); err != nil {
			return nil, err
		}
	}
	for _, branch := range slices.Sorted(maps.Keys(r.Branches)) {
		commit := seen.refs["refs/heads/"+branch]
		if commit == "" {
			gone = fault.New(fault.BranchGone, "the remote has no branch %s", branch)
		}
		_, ok, err := moved(tx.QueryRow(ctx, sqlMoveRef, r.Name, branch, commit))
		if err != nil {
			return nil, fmt.Errorf("store ref: %w", err)
		}
		if !ok {
			continue
		}
		ref, _, err := GetRef(ctx, tx, r.Name, branch)
		if err != nil {
			return nil, err
		}
		if err := w.Sink.Moved(ctx, tx, r, ref); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

func (w *Watcher) notePull(ctx context.Context, tx pgx.Tx, r Repository, p forge.Pull, base string) error {
	_, ok, err := moved(tx.QueryRow(ctx, sqlSeePull, r.Name, p.Number, p.State, p.Title, p.Author, p.HeadRef, p.HeadCommit,
		p.BaseRef, base, p.Fork, p.MergeCommit))
	if err != nil || !ok {
		return fault.While("store pull request", err)
	}
	stored, _, err := GetPull(ctx, tx, r.Name, p.Number)
	if err != nil {
		return err
	}
	return w.Sink.Seen(ctx, tx, r, stored)
}

// next notes how the look went and asks for the next one, unless one was asked for meanwhile. answered says that the
// remote told its refs.
func (w *Watcher) next(ctx context.Context, tx pgx.Tx, job *queue.Job, r Repository, answered bool, failure error) error {
	var why *fault.Fault
	wait, atLeast := r.Poll(), time.Duration(0)
	if failure != nil {
		why = fault.Of(failure)[0]
		if r.FailingSince != nil && !answered {
			// The longer it fails, the rarer it is asked: twice the time that it has failed for, up to a limit.
			wait = min(max(wait, time.Since(*r.FailingSince)), failingLimit)
		}
		atLeast = why.After
	}
	if _, err := tx.Exec(ctx, sqlLooked, r.Name, why); err != nil {
		return fmt.Errorf("note look: %w", err)
	}
	var newest int64
	if err := tx.QueryRow(ctx, sqlLooks, r.Name).Scan(&newest); err != nil {
		return fmt.Errorf("count looks: %w", err)
	}
	if newest > job.Generation {
		return nil
	}
	return w.enqueue(ctx, tx, r.Name, time.Now().Add(max(vary(wait, rand.Float64()), atLeast)))
}

// vary returns a time between looks with jitter; random is 0 to 1.
func vary(wait time.Duration, random float64) time.Duration {
	return wait + time.Duration((random*2-1)*jitter*float64(wait))
}

const sqlMissed = `SELECT name FROM repositories
WHERE removed_at IS NULL AND coalesce(polled_at, created_at) < now() - make_interval(secs => $1 * greatest(poll_seconds, $2))`

// Sweep asks for looks at repositories that nobody has looked at for long. It finds none unless something was lost.
func (w *Watcher) Sweep(ctx context.Context) error {
	rows, err := w.Pool.Query(ctx, sqlMissed, missedLooks, int(failingLimit/time.Second))
	if err != nil {
		return fmt.Errorf("look for missed repositories: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for missed repositories: %w", err)
	}
	for _, name := range names {
		err := pgx.BeginFunc(ctx, w.Pool, func(tx pgx.Tx) error { return w.Hint(ctx, tx, name) })
		if err != nil {
			return err
		}
	}
	return nil
}

// Touch gives a branch a new generation without a move, so that it is evaluated again: the world around it changed.
func Touch(ctx context.Context, tx pgx.Tx, repository, branch string) (Ref, error) {
	if _, _, err := moved(tx.QueryRow(ctx, sqlTouchRef, repository, branch)); err != nil {
		return Ref{}, fmt.Errorf("touch ref: %w", err)
	}
	ref, _, err := GetRef(ctx, tx, repository, branch)
	return ref, err
}

// TouchPull does the same for a pull request.
func TouchPull(ctx context.Context, tx pgx.Tx, repository string, number int64) (Pull, error) {
	if _, _, err := moved(tx.QueryRow(ctx, sqlTouchPull, repository, number)); err != nil {
		return Pull{}, fmt.Errorf("touch pull request: %w", err)
	}
	p, _, err := GetPull(ctx, tx, repository, number)
	return p, err
}
