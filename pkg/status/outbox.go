package status

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// JobKind is the kind of the queue's jobs that send reports.
const JobKind = "report"

// The kinds of reports.
const (
	KindStatus  = "status"
	KindComment = "comment"
)

// Report is something that a forge must be told.
type Report struct {
	Repository string
	Kind       string
	// Target is the commit of a status, or the number of the pull request of a comment.
	Target string
	// Context is the context of a status.
	Context string
	State   forge.State
	Body    string
	URL     string
}

// stored is a report as it lies in the outbox.
type stored struct {
	Report
	Version  int64
	Sent     int64
	ForgeID  int64
	Attempts int
}

const (
	// Only what differs counts as new.
	sqlSay = `INSERT INTO reports AS r (repository, kind, target, context, state, body, url) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (repository, kind, target, context) DO UPDATE
SET state = $5, body = $6, url = $7, version = r.version + 1, attempts = 0, dead = false, fault = NULL, changed_at = now()
WHERE (r.state, r.body, r.url) IS DISTINCT FROM ($5, $6, $7)`
	// Failures first: they are what people wait for.
	sqlUnsent = `SELECT repository, kind, target, context, state, body, url, version, sent, forge_id, attempts FROM reports
WHERE repository = $1 AND sent < version AND NOT dead
ORDER BY CASE WHEN state IN ('failure', 'error') THEN 0 WHEN kind = 'comment' THEN 1 WHEN state = 'success' THEN 2 ELSE 3 END, changed_at LIMIT 100`
	sqlSent = `UPDATE reports SET sent = greatest(sent, $5), forge_id = CASE WHEN $6 = 0 THEN forge_id ELSE $6 END, sent_at = now(), fault = NULL
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4`
	sqlForgetComment = `UPDATE reports SET forge_id = 0 WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4`
	sqlUnsaid        = `UPDATE reports SET attempts = attempts + 1, fault = $6, dead = $7
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4 AND version = $5`
	sqlBacklog = `SELECT count(*), coalesce(extract(epoch FROM now() - min(changed_at)), 0)::float8 FROM reports WHERE sent < version AND NOT dead`
)

// Enqueuer is what the outbox needs of the queue.
type Enqueuer interface {
	Enqueue(ctx context.Context, tx pgx.Tx, inserts ...queue.Insert) ([]queue.Enqueued, error)
}

// Outbox keeps and sends reports.
type Outbox struct {
	Pool  *pgxpool.Pool
	Queue Enqueuer
	// Forge returns the forge of a repository and its name there; nil if it has no API, and then nothing is sent.
	Forge func(ctx context.Context, repository string) (f forge.Forge, name string, err error)
	// Redact takes secrets out of everything that is said.
	Redact func(string) string
	// Marker returns the hidden line by which our comment on a pull request is known.
	Marker func(repository string, pull int64) string
	Log    zerolog.Logger

	sent *prometheus.CounterVec
}

// Collectors returns the outbox's metrics; call it once, before the outbox is used.
func (o *Outbox) Collectors() []prometheus.Collector {
	o.sent = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "reconciler_reports_total", Help: "Reports by kind and what became of them.",
	}, []string{"kind", "outcome"})
	return []prometheus.Collector{o.sent}
}

// Say stores reports in the caller's transaction and sees to it that they are sent. What is said already is not said
// again.
func (o *Outbox) Say(ctx context.Context, tx pgx.Tx, reports ...Report) error {
	repositories := map[string]bool{}
	for _, r := range reports {
		tag, err := tx.Exec(ctx, sqlSay, r.Repository, r.Kind, r.Target, r.Context, r.State, o.Redact(r.Body), r.URL)
		if err != nil {
			return fmt.Errorf("store report: %w", err)
		}
		if tag.RowsAffected() > 0 && !repositories[r.Repository] {
			repositories[r.Repository] = true
			// A job that waits sends this one too; one that runs may have read the table before.
			if _, err := o.Queue.Enqueue(ctx, tx, queue.Insert{
				Kind: JobKind, Key: "reports/" + r.Repository, Dedupe: "send", Args: jobArgs{r.Repository},
			}); err != nil {
				return fmt.Errorf("enqueue report: %w", err)
			}
		}
	}
	return nil
}

type jobArgs struct {
	Repository string `json:"repository"`
}

const (
	// attempts is how often a report is tried before it is given up: with the back-off of the handler, over about a day.
	attempts = 60
	// sendTimeout bounds one call to a forge: Gitea needs up to a second under load.
	sendTimeout = 20 * time.Second
)

// Handler returns what the queue calls for jobs of [JobKind].
func (o *Outbox) Handler() queue.Handler {
	return queue.Handler{Work: o.send, Timeout: 10 * time.Minute, MaxAttempts: attempts, BackoffBase: time.Second, BackoffCap: 30 * time.Minute}
}

// send sends what a repository's forge was not told yet. One report that fails does not keep the others back.
func (o *Outbox) send(ctx context.Context, job *queue.Job) error {
	var args jobArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	f, name, err := o.Forge(ctx, args.Repository)
	if err != nil {
		return err
	}
	rows, err := o.Pool.Query(ctx, sqlUnsent, args.Repository)
	if err != nil {
		return fmt.Errorf("read reports: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[stored])
	if err != nil {
		return fmt.Errorf("read reports: %w", err)
	}
	var failure error
	for _, r := range list {
		if err := o.deliver(ctx, f, name, r); err != nil && failure == nil {
			failure = err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return failure
}

// deliver sends one report and notes what became of it. It returns only errors that a later attempt may not meet.
func (o *Outbox) deliver(ctx context.Context, f forge.Forge, name string, r stored) error {
	id, err := int64(0), error(nil)
	if f != nil {
		call, cancel := context.WithTimeout(ctx, sendTimeout)
		id, err = o.call(call, f, name, r)
		cancel()
	}
	if err == nil {
		o.sent.WithLabelValues(r.Kind, "sent").Inc()
		_, err = o.Pool.Exec(ctx, sqlSent, r.Repository, r.Kind, r.Target, r.Context, r.Version, id)
		return err
	}
	class := fault.ClassOf(err)
	dead := class == fault.Permanent || errors.Is(err, forge.ErrNotFound) || r.Attempts+1 >= attempts
	o.sent.WithLabelValues(r.Kind, map[bool]string{true: "dead", false: "failed"}[dead]).Inc()
	o.Log.Error().Err(err).Str("repository", r.Repository).Str("kind", r.Kind).Str("target", r.Target).Str("context", r.Context).
		Int("attempt", r.Attempts+1).Bool("dead", dead).Msg("report not delivered")
	why := *fault.Of(err)[0]
	why.Message = o.Redact(why.Message)
	if _, dberr := o.Pool.Exec(ctx, sqlUnsaid, r.Repository, r.Kind, r.Target, r.Context, r.Version, &why, dead); dberr != nil {
		return errors.Join(err, dberr)
	}
	if dead {
		return nil
	}
	if class == fault.Refused {
		// A person has to act, and may do so at any time: it is tried on, slowly.
		return fault.New(fault.ForgeUnavailable, "%w", err).RetryAfter(time.Minute)
	}
	return err
}

func (o *Outbox) call(ctx context.Context, f forge.Forge, name string, r stored) (id int64, err error) {
	if r.Kind == KindStatus {
		return 0, f.SetStatus(ctx, name, r.Target, forge.Status{
			Context: r.Context, State: r.State, Description: clip(r.Body, f.Capabilities().DescriptionLimit), URL: r.URL,
		})
	}
	number, err := strconv.ParseInt(r.Target, 10, 64)
	if err != nil {
		return 0, fault.New(fault.ForgeRejected, "comment on pull request %q: not a number", r.Target)
	}
	if id = r.ForgeID; id == 0 {
		if id, err = o.find(ctx, f, name, r.Repository, number); err != nil {
			return 0, err
		}
	}
	if id != 0 {
		err = f.EditComment(ctx, name, number, id, r.Body)
		if !errors.Is(err, forge.ErrNotFound) {
			return id, err
		}
		// Somebody deleted it: it is written again, as what it says has changed.
		if _, err := o.Pool.Exec(ctx, sqlForgetComment, r.Repository, r.Kind, r.Target, r.Context); err != nil {
			return 0, fmt.Errorf("forget deleted comment: %w", err)
		}
	}
	return f.CreateComment(ctx, name, number, r.Body)
}

// find looks for our comment after a crash between writing it and noting its id: by author and marker, never by text
// alone.
func (o *Outbox) find(ctx context.Context, f forge.Forge, name, repository string, number int64) (int64, error) {
	self, err := f.Self(ctx)
	if err != nil {
		return 0, err
	}
	comments, err := f.Comments(ctx, name, number)
	if err != nil {
		return 0, err
	}
	marker := o.Marker(repository, number)
	for _, c := range comments {
		if c.Author == self && strings.HasPrefix(c.Body, marker) {
			return c.ID, nil
		}
	}
	return 0, nil
}

// Backlog returns how many reports wait and how long the oldest has.
func (o *Outbox) Backlog(ctx context.Context, db postgres.Querier) (count int, oldest time.Duration, err error) {
	var seconds float64
	if err := db.QueryRow(ctx, sqlBacklog).Scan(&count, &seconds); err != nil {
		return 0, 0, fmt.Errorf("count reports: %w", err)
	}
	return count, time.Duration(seconds * float64(time.Second)), nil
}

// clip shortens a text to a number of characters, with an ellipsis where something is missing.
func clip(s string, limit int) string {
	runes := []rune(s)
	if limit <= 0 || len(runes) <= limit {
		return s
	}
	return string(runes[:limit-1]) + "…"
}
