package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

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
	// Asks says that people are asked something.
	Asks bool `db:"-"`
	// Wait is how long it stays unsent, so that what is said meanwhile takes its place.
	Wait time.Duration `db:"-"`
}

const (
	// Only what differs counts as new.
	sqlSay = `INSERT INTO reports AS r (repository, kind, target, context, state, body, url) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (repository, kind, target, context) DO UPDATE
SET state = $5, body = $6, url = $7, version = r.version + 1, attempts = 0, dead = false, fault = NULL, changed_at = now()
WHERE (r.state, r.body, r.url) IS DISTINCT FROM ($5, $6, $7) RETURNING version`
	// What was given up stays so. Its age stays that of what it says.
	sqlSayAgain = `UPDATE reports SET version = version + 1
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4 AND NOT dead RETURNING version, state`
	sqlSaid = `SELECT body FROM reports WHERE repository = $1 AND kind = 'status' AND target = $2 AND context = $3`
	// What was said of a pull request before it moved.
	sqlOldComment = `SELECT body FROM reports WHERE repository = $1 AND kind = 'comment' AND target = $2 AND context = '' AND changed_at < $3`
	sqlBacklog    = `SELECT count(*), coalesce(extract(epoch FROM now() - min(changed_at)), 0)::float8 FROM reports WHERE sent < version AND NOT dead`
)

// Enqueuer is what the outbox needs of the queue.
type Enqueuer interface {
	Lock(ctx context.Context, tx pgx.Tx, keys ...string) error
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
	// lanes bounds how many reports are sent at once, by forge.
	lanes sync.Map
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
	keys := make([]string, len(reports))
	for i, r := range reports {
		keys[i] = r.key()
	}
	// Before the reports' rows, as who sends them does.
	if err := o.Queue.Lock(ctx, tx, keys...); err != nil {
		return err
	}
	var jobs []queue.Insert
	for _, r := range reports {
		var version int64
		err := tx.QueryRow(ctx, sqlSay, r.Repository, r.Kind, r.Target, r.Context, r.State, o.Redact(r.Body), r.URL).Scan(&version)
		if errors.Is(err, pgx.ErrNoRows) {
			continue // This is what was said last.
		}
		if err != nil {
			return fmt.Errorf("store report: %w", err)
		}
		jobs = append(jobs, r.job(version))
	}
	if _, err := o.Queue.Enqueue(ctx, tx, jobs...); err != nil {
		return fmt.Errorf("enqueue reports: %w", err)
	}
	return nil
}

// again has a report said once more, because the forge may have heard something old last. That is a version of its own: who
// is just sending the one before it must not take it for sent.
func (o *Outbox) again(ctx context.Context, tx pgx.Tx, r Report) error {
	if err := o.Queue.Lock(ctx, tx, r.key()); err != nil {
		return err
	}
	var version int64
	err := tx.QueryRow(ctx, sqlSayAgain, r.Repository, r.Kind, r.Target, r.Context).Scan(&version, &r.State)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // It was given up, or it is so old that it was forgotten.
	}
	if err != nil {
		return fmt.Errorf("say report again: %w", err)
	}
	if _, err := o.Queue.Enqueue(ctx, tx, r.job(version)); err != nil {
		return fmt.Errorf("enqueue report: %w", err)
	}
	return nil
}

// Said returns what a status says, "" if there is none.
func (o *Outbox) Said(ctx context.Context, tx pgx.Tx, repository, commit, statusContext string) (body string, err error) {
	err = tx.QueryRow(ctx, sqlSaid, repository, commit, statusContext).Scan(&body)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("read status: %w", err)
	}
	return body, nil
}

// outdatedWait is how long a comment may be outdated before that is told: most plans are made sooner, and then nobody
// needs the banner.
const outdatedWait = 5 * time.Second

// Outdated tells that what a pull request's comment says is older than what became of it since a time. If nothing newer
// is said soon, the comment gets a banner that says why.
func (o *Outbox) Outdated(ctx context.Context, tx pgx.Tx, repository string, pull int64, since time.Time, why string) error {
	target := strconv.FormatInt(pull, 10)
	var body string
	err := tx.QueryRow(ctx, sqlOldComment, repository, target, since).Scan(&body)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read comment: %w", err)
	}
	return o.Say(ctx, tx, Report{Repository: repository, Kind: KindComment, Target: target, Body: Outdated(body, why), Wait: outdatedWait})
}

// jobArgs say which report a job sends: whatever is the newest version then.
type jobArgs struct {
	Repository string `json:"repository"`
	Kind       string `json:"kind"`
	Target     string `json:"target"`
	Context    string `json:"context"`
}

// keyLimit keeps the keys of jobs below the queue's limit, in bytes.
const keyLimit = 400

func (r Report) key() string {
	key := strings.Join([]string{"report", r.Repository, r.Kind, r.Target, r.Context}, "/")
	if len(key) <= keyLimit {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return strings.ToValidUTF8(key[:keyLimit-2*len(sum)], "") + hex.EncodeToString(sum[:])
}

// job is what sends a version of the report. The version orders the jobs of a report: the newest replaces one that waits,
// also one that waits to be tried again, so that nothing new waits for something old.
func (r Report) job(version int64) queue.Insert {
	insert := queue.Insert{
		Kind: JobKind, Key: r.key(), Owner: r.Repository, Generation: version, Priority: new(r.priority()),
		Args: jobArgs{r.Repository, r.Kind, r.Target, r.Context},
	}
	if r.Wait > 0 {
		insert.RunAt = time.Now().Add(r.Wait)
	}
	return insert
}

// priority puts failures and questions first: they are what people wait for, or what waits for people. That something was begun matters least.
func (r Report) priority() int16 {
	switch {
	case r.State == forge.Failure || r.State == forge.Error || r.Asks:
		return queue.HighestPriority
	case r.Kind == KindComment:
		return queue.HighestPriority + 1
	case r.State == forge.Pending:
		return queue.DefaultPriority + 1
	default:
		return queue.DefaultPriority
	}
}

// Backlog returns how many reports wait and how long the oldest has.
func (o *Outbox) Backlog(ctx context.Context, db postgres.Querier) (count int, oldest time.Duration, err error) {
	var seconds float64
	if err := db.QueryRow(ctx, sqlBacklog).Scan(&count, &seconds); err != nil {
		return 0, 0, fmt.Errorf("count reports: %w", err)
	}
	return count, time.Duration(seconds * float64(time.Second)), nil
}
