package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/queue"
)

const (
	sqlUnsent = `SELECT repository, kind, target, context, state, body, url, version FROM reports
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4 AND sent < version AND NOT dead`
	// The version before this one edits the comment that it knows, or writes one; without an id it looks for ours.
	sqlSent = `UPDATE reports SET sent = greatest(sent, $5), forge_id = 0, sent_at = now(), fault = NULL
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4`
	// A failure is that of one version: what was said meanwhile was not tried.
	sqlUnsaid = `UPDATE reports SET attempts = attempts + 1, fault = $6 WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4 AND version = $5`
	sqlGiveUp = `UPDATE reports SET dead = true, fault = $6
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4 AND version = $5 AND sent < version`
)

const (
	// attempts is how often a report is tried before it is given up: with the back-off of the handler, over about a day.
	attempts = 60
	// sendTimeout bounds one report: Gitea needs up to a second for a call under load, and a comment three calls or a few more.
	sendTimeout = 20 * time.Second
	// noteTimeout is how long noting what became of a report is tried: as long as a failover of the database takes.
	noteTimeout = 30 * time.Second
	// laneWidth is how many reports go to one forge at once: a forge that hangs must not take all workers.
	laneWidth = 4
	// laneWait is how long a report waits for its forge's lane before it makes room for other jobs, lanePause how long it
	// then stays away.
	laneWait  = 200 * time.Millisecond
	lanePause = time.Second
	// refusedWait is the shortest wait after a refusal: a person has to act, which takes minutes.
	refusedWait = time.Minute
)

// Handler returns what the queue calls for jobs of [JobKind].
func (o *Outbox) Handler() queue.Handler {
	return queue.Handler{
		Work: o.send, OnEnd: o.giveUp, Timeout: 10 * sendTimeout,
		MaxAttempts: attempts, BackoffBase: time.Second, BackoffCap: 30 * time.Minute,
	}
}

// stored is a report as it lies in the outbox.
type stored struct {
	Report
	Version int64
}

// turn is a report on its way to the forge.
type turn struct {
	*Outbox
	stored
	job *queue.Job
	// forge is nil where there is no API, name is the repository's there.
	forge forge.Forge
	name  string
	// acted says that the forge was asked to change something, whatever it answered; stuck, that it was not asked because the
	// lease was lost, or nobody knew.
	acted, stuck bool
}

// send sends a report if its newest version was not sent yet.
func (o *Outbox) send(ctx context.Context, job *queue.Job) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	f, name, err := o.Forge(ctx, args.Repository)
	if err != nil {
		return err
	}
	leave, err := o.enter(ctx, f)
	if err != nil {
		return err
	}
	defer leave()
	rows, err := o.Pool.Query(ctx, sqlUnsent, args.Repository, args.Kind, args.Target, args.Context)
	if err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[stored])
	if err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	if len(list) == 0 {
		return nil // It was sent by a job before this one.
	}
	t := &turn{Outbox: o, stored: list[0], job: job, forge: f, name: name}
	return t.deliver(ctx)
}

// enter waits for a place in the forge's lane.
func (o *Outbox) enter(ctx context.Context, f forge.Forge) (leave func(), err error) {
	if f == nil {
		return func() {}, nil
	}
	kept, _ := o.lanes.LoadOrStore(f, make(chan struct{}, laneWidth))
	lane := kept.(chan struct{})
	timer := time.NewTimer(laneWait)
	defer timer.Stop()
	select {
	case lane <- struct{}{}:
		return func() { <-lane }, nil
	case <-timer.C:
		return nil, queue.Snooze(lanePause, "other reports are on their way to the forge")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// deliver sends the report and notes what became of it.
func (t *turn) deliver(ctx context.Context) error {
	err := t.tell(ctx)
	if errors.Is(err, forge.ErrNotFound) {
		err = fault.New(fault.ForgeRejected, "%w", err)
	}
	var write func(context.Context, pgx.Tx) error
	switch class := fault.ClassOf(err); {
	case err == nil:
		t.sent.WithLabelValues(t.Kind, "sent").Inc()
		write = t.change(sqlSent, t.Version)
	case ctx.Err() != nil:
		err = context.Cause(ctx) // We stop, which says nothing about the forge.
	case t.stuck: // The forge was not asked.
	case class == fault.Permanent: // giveUp notes it, in the transaction that ends the job.
	default:
		t.sent.WithLabelValues(t.Kind, "failed").Inc()
		write = t.change(sqlUnsaid, t.Version, t.why(err))
		if class == fault.Refused {
			// A person has to act, and may do so at any time: it is tried on, slowly.
			err = fault.New(fault.ForgeUnavailable, "%w", err).RetryAfter(refusedWait)
		}
	}
	if write == nil && !t.acted {
		return err
	}
	return errors.Join(err, t.note(ctx, write))
}

// change returns what executes a statement on the report's row.
func (t *turn) change(statement string, arguments ...any) func(context.Context, pgx.Tx) error {
	return func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, statement, append([]any{t.Repository, t.Kind, t.Target, t.Context}, arguments...)...)
		return err
	}
}

// act asks the forge to change something, unless another worker has the job. Who stands still after that question is late
// all the same, and note finds out.
func (t *turn) act(ctx context.Context, ask func() error) error {
	if err := pgx.BeginFunc(ctx, t.Pool, func(tx pgx.Tx) error { return t.job.Hold(ctx, tx) }); err != nil {
		t.stuck = true
		return err
	}
	t.acted = true
	return ask()
}

// note writes what became of the report, unless another worker has the job. Then what we asked the forge for may have come
// after what that one did, and the report is said again. It is tried for a while, also when we are to stop: nobody else
// knows.
func (t *turn) note(ctx context.Context, write func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	var held error
	err := backoff.Retry(func() error {
		return pgx.BeginFunc(ctx, t.Pool, func(tx pgx.Tx) error {
			// The job's row before the report's, as in the transaction that ends a job.
			held = t.job.Hold(ctx, tx)
			switch lost := errors.Is(held, queue.ErrLeaseLost); {
			case lost && t.acted:
				return t.again(ctx, tx, t.Report)
			case lost, held == nil && write == nil:
				return nil
			case held != nil:
				return held
			}
			return write(ctx, tx)
		})
	}, backoff.WithContext(backoff.NewExponentialBackOff(), ctx))
	if err != nil {
		return fmt.Errorf("note what became of report: %w", err)
	}
	if held != nil && t.acted {
		t.Log.Warn().Str("repository", t.Repository).Str("kind", t.Kind).Str("target", t.Target).Str("context", t.Context).
			Msg("lease lost while a report was sent: it is said again")
	}
	return held
}

// giveUp notes that a report will not be sent, in the transaction that ends its job.
func (o *Outbox) giveUp(ctx context.Context, tx pgx.Tx, job *queue.Job, cause error) error {
	if errors.Is(cause, queue.ErrSuperseded) {
		return nil // A newer version is on its way.
	}
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	why := o.why(cause)
	if _, err := tx.Exec(ctx, sqlGiveUp, args.Repository, args.Kind, args.Target, args.Context, job.Generation, why); err != nil {
		return fmt.Errorf("give up report: %w", err)
	}
	o.sent.WithLabelValues(args.Kind, "dead").Inc()
	o.Log.Error().Str("repository", args.Repository).Str("kind", args.Kind).Str("target", args.Target).Str("context", args.Context).
		Int("attempt", job.Attempt).Str("code", string(why.Code)).Str("error", why.Message).Msg("report given up")
	return nil
}

// why returns the fault at the root of an error as it may be shown.
func (o *Outbox) why(err error) *fault.Fault {
	f := *fault.Of(err)[0]
	if inner, ok := fault.As(f.Cause); ok {
		f = *inner // A refusal, which is tried again like something that may recover.
	}
	f.Message, f.Cause = o.Redact(f.Message), nil
	return &f
}

// tell tells the forge.
func (t *turn) tell(ctx context.Context) error {
	if t.forge == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	body := t.Redact(t.Body) // What is secret may have become known only after it was stored.
	if t.Kind == KindStatus {
		s := forge.Status{Context: t.Context, State: t.State, Description: clip(body, t.forge.Capabilities().DescriptionLimit), URL: t.URL}
		return t.act(ctx, func() error { return t.forge.SetStatus(ctx, t.name, t.Target, s) })
	}
	number, err := strconv.ParseInt(t.Target, 10, 64)
	if err != nil {
		return fault.New(fault.ForgeRejected, "comment on pull request %q: not a number", t.Target)
	}
	return t.comment(ctx, number, body)
}

// comment writes our comment, or edits it if it is there. There are two if a worker wrote one that did not know any more
// what others did.
func (t *turn) comment(ctx context.Context, number int64, body string) error {
	ours, err := t.ours(ctx, number)
	if err != nil {
		return err
	}
	if len(ours) == 0 {
		return t.act(ctx, func() error {
			_, err := t.forge.CreateComment(ctx, t.name, number, body)
			return err
		})
	}
	err = t.act(ctx, func() error { return t.forge.EditComment(ctx, t.name, number, ours[0], body) })
	if errors.Is(err, forge.ErrNotFound) {
		// The next attempt looks anew.
		return fault.New(fault.ForgeUnavailable, "comment %d on pull request %d was deleted just now", ours[0], number)
	}
	for _, id := range ours[1:] {
		if err == nil {
			err = t.act(ctx, func() error { return t.forge.DeleteComment(ctx, t.name, number, id) })
		}
		if errors.Is(err, forge.ErrNotFound) {
			err = nil // It is gone, as it should be.
		}
	}
	return err
}

// ours returns the ids of our comments, the oldest first. They are known by author and marker, never by text alone. The
// forge is asked each time: what was noted of it may be older than what a late worker did.
func (t *turn) ours(ctx context.Context, number int64) (ids []int64, err error) {
	self, err := t.forge.Self(ctx)
	if err != nil {
		return nil, err
	}
	comments, err := t.forge.Comments(ctx, t.name, number)
	if err != nil {
		return nil, err
	}
	marker := t.Marker(t.Repository, number)
	for _, c := range comments {
		if c.Author == self && strings.HasPrefix(c.Body, marker) {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// clip shortens a text to a number of characters, with an ellipsis where something is missing.
func clip(s string, limit int) string {
	runes := []rune(s)
	if limit <= 0 || len(runes) <= limit {
		return s
	}
	return string(runes[:limit-1]) + "…"
}
