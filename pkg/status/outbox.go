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
	// Asks says that people are asked something.
	Asks bool `db:"-"`
	// Wait is how long it stays unsent, so that what is said meanwhile takes its place.
	Wait time.Duration `db:"-"`
}

// stored is a report as it lies in the outbox.
type stored struct {
	Report
	Version int64
	ForgeID int64
}

const (
	// Only what differs counts as new.
	sqlSay = `INSERT INTO reports AS r (repository, kind, target, context, state, body, url) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (repository, kind, target, context) DO UPDATE
SET state = $5, body = $6, url = $7, version = r.version + 1, attempts = 0, dead = false, fault = NULL, changed_at = now()
WHERE (r.state, r.body, r.url) IS DISTINCT FROM ($5, $6, $7) RETURNING version`
	sqlUnsent = `SELECT repository, kind, target, context, state, body, url, version, forge_id FROM reports
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4 AND sent < version AND NOT dead`
	sqlSent = `UPDATE reports SET sent = greatest(sent, $5), forge_id = CASE WHEN $6 = 0 THEN forge_id ELSE $6 END, sent_at = now(), fault = NULL
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4`
	sqlForgetComment = `UPDATE reports SET forge_id = 0 WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4`
	// A failure is that of one version: what was said meanwhile was not tried.
	sqlUnsaid = `UPDATE reports SET attempts = attempts + 1, fault = $6 WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4 AND version = $5`
	sqlGiveUp = `UPDATE reports SET dead = true, fault = $6
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4 AND version = $5 AND sent < version`
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
		// The version orders the jobs of a report: the newest replaces one that waits, also one that waits to be tried
		// again, so that nothing new waits for something old.
		insert := queue.Insert{
			Kind: JobKind, Key: r.key(), Owner: r.Repository, Generation: version, Priority: new(r.priority()),
			Args: jobArgs{r.Repository, r.Kind, r.Target, r.Context},
		}
		if r.Wait > 0 {
			insert.RunAt = time.Now().Add(r.Wait)
		}
		jobs = append(jobs, insert)
	}
	if _, err := o.Queue.Enqueue(ctx, tx, jobs...); err != nil {
		return fmt.Errorf("enqueue reports: %w", err)
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

const (
	// attempts is how often a report is tried before it is given up: with the back-off of the handler, over about a day.
	attempts = 60
	// sendTimeout bounds one report: Gitea needs up to a second for a call under load, and a comment up to four calls.
	sendTimeout = 20 * time.Second
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
	return o.deliver(ctx, f, name, list[0])
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

// deliver sends one report and notes what became of it.
func (o *Outbox) deliver(ctx context.Context, f forge.Forge, name string, r stored) error {
	id, err := int64(0), error(nil)
	if f != nil {
		call, cancel := context.WithTimeout(ctx, sendTimeout)
		id, err = o.call(call, f, name, r)
		cancel()
	}
	if err == nil {
		o.sent.WithLabelValues(r.Kind, "sent").Inc()
		if _, err := o.Pool.Exec(ctx, sqlSent, r.Repository, r.Kind, r.Target, r.Context, r.Version, id); err != nil {
			return fmt.Errorf("note sent report: %w", err)
		}
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // We stop, which says nothing about the forge.
	}
	if errors.Is(err, forge.ErrNotFound) {
		err = fault.New(fault.ForgeRejected, "%w", err)
	}
	class := fault.ClassOf(err)
	if class == fault.Permanent {
		return err // giveUp notes it, in the transaction that ends the job.
	}
	o.sent.WithLabelValues(r.Kind, "failed").Inc()
	if _, dberr := o.Pool.Exec(ctx, sqlUnsaid, r.Repository, r.Kind, r.Target, r.Context, r.Version, o.why(err)); dberr != nil {
		return errors.Join(err, fmt.Errorf("note failed report: %w", dberr))
	}
	if class == fault.Refused {
		// A person has to act, and may do so at any time: it is tried on, slowly.
		return fault.New(fault.ForgeUnavailable, "%w", err).RetryAfter(refusedWait)
	}
	return err
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

func (o *Outbox) call(ctx context.Context, f forge.Forge, name string, r stored) (id int64, err error) {
	r.Body = o.Redact(r.Body) // What is secret may have become known only after it was stored.
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
