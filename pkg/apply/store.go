package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/secret"
	"github.com/innominatus/reconciler/pkg/trace"
)

// JobKind is the kind of the queue's jobs that execute runs.
const JobKind = "run"

// Store keeps runs, their steps and logs, and what they left in the world.
type Store struct {
	Keys *secret.Keyring
}

// The version before this one leaves what a run waits for when it ends it.
const runColumns = `id, application, environment, name, repository, generation, kind, state, plan, commit, attempt, writes,
fault, created_at, started_at, finished_at, CASE WHEN state IN ('queued', 'running') THEN waits ELSE '' END AS waits,
paused_by, paused_at, token, atomic, together, kept,
CASE WHEN paths IS NOT NULL THEN json_build_object('name', paths->'name') END AS paths`

const (
	sqlInsertRun = `INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit, paths, atomic, together)
VALUES ($1, $2, $3, $4, $5, $6, 'queued', $7, $8, $9, $10, $11) RETURNING id`
	sqlRun  = `SELECT ` + runColumns + ` FROM runs WHERE id = $1`
	sqlRuns = `SELECT ` + runColumns + ` FROM runs
WHERE ($1 = '' OR environment = $1) AND ($2 = '' OR name = $2) AND ($3 = '' OR repository = $3) AND ($4 = '' OR commit = $4)
AND ($5 = 0 OR application = $5) ORDER BY id DESC LIMIT $6`
	sqlPaths = `SELECT paths->'texts' FROM runs WHERE id = $1`
	sqlNext  = `SELECT ` + runColumns + ` FROM runs WHERE application = $1 AND generation > $2 ORDER BY generation LIMIT 1`
	sqlRunOf = `SELECT ` + runColumns + ` FROM runs WHERE application = $1 AND generation = $2`
	// Takes the run for a lease. No row: a later lease has it, or it ended. Attempts are the job's: one that was put off and
	// goes on is not tried again.
	sqlBegin = `UPDATE runs SET token = $2, state = 'running', attempt = $3, started_at = coalesce(started_at, now()), fault = NULL
WHERE id = $1 AND token <= $2 AND state IN ('queued', 'running') RETURNING ` + runColumns
	// The row lock keeps a later worker from beginning while this one writes; steps side by side do not keep each other.
	sqlFence = `SELECT 1 FROM runs WHERE id = $1 AND token = $2 AND state = $3 FOR SHARE`
	// Nothing is locked: what follows is an act outside.
	sqlAlive = `SELECT 1 FROM runs WHERE id = $1 AND token = $2 AND state = $3`
	sqlEnd   = `UPDATE runs SET state = $2, fault = $3, finished_at = now(), waits = ''
WHERE id = $1 AND state IN ('queued', 'running') AND ($2 <> 'succeeded' OR state = 'running') RETURNING ` + runColumns
	// What an attempt wrote counts even if a later one ends the run.
	sqlWrote     = `UPDATE runs SET writes = writes + $3 WHERE id = $1 AND token = $2 AND state = 'running'`
	sqlNoteFault = `UPDATE runs SET fault = $3 WHERE id = $1 AND token = $2 AND state = 'running'`
	sqlWaits     = `UPDATE runs SET waits = $3 WHERE id = $1 AND token = $2 AND state = 'running'`
	sqlPause     = `UPDATE runs SET paused_by = $2, paused_at = now() WHERE id = $1 AND paused_by IS NULL`
	sqlResume    = `UPDATE runs SET paused_by = NULL, paused_at = NULL WHERE id = $1`
	sqlPausedBy  = `SELECT paused_by FROM runs WHERE id = $1 AND paused_by IS NOT NULL`
	// Names that application $1 had in environment $2 before it was renamed to $3, unless somebody else has them now. Who
	// changes what lies under them asks in the statement that does: they may be somebody's a moment later.
	formerNames = `SELECT DISTINCT was.name FROM runs was WHERE was.application = $1 AND was.environment = $2 AND was.name <> $3 AND NOT EXISTS
(SELECT FROM runs o WHERE o.environment = was.environment AND o.name = was.name AND o.application <> was.application AND o.id > was.id)`
	sqlFormer = formerNames + ` ORDER BY name`
	// Whether the newest run before it that began did not succeed.
	sqlContested = `SELECT coalesce((SELECT state <> 'succeeded' FROM runs WHERE application = $1 AND generation < $2 AND token > 0
ORDER BY generation DESC LIMIT 1), false)`
	// What succeeded together with something that did not is nothing to go back to.
	sqlSucceeded = `SELECT generation FROM runs r WHERE application = $1 AND state = 'succeeded' AND kind <> 'remove' AND ` + isWell

	sqlLogs = `SELECT id, step, at, message FROM run_logs WHERE run = $1 AND id > $2 ORDER BY id LIMIT $3`
)

// RunFilter chooses runs; "" and 0 take any.
type RunFilter struct {
	Environment, Name, Repository, Commit string
	// Application is an application's id, whatever its name was at the time.
	Application int64
}

// Run returns a run by id, or a fault.
func (s *Store) Run(ctx context.Context, db postgres.Querier, id int64) (Run, error) {
	return oneRun(db.Query(ctx, sqlRun, id))
}

// RunOf returns the run of an application's generation, or a fault.
func (s *Store) RunOf(ctx context.Context, db postgres.Querier, application, generation int64) (Run, error) {
	return oneRun(db.Query(ctx, sqlRunOf, application, generation))
}

// Next returns the run that took the place of one, nil while none has.
func (s *Store) Next(ctx context.Context, db postgres.Querier, run Run) (*Run, error) {
	list, err := postgres.Collect[Run](db.Query(ctx, sqlNext, run.Application, run.Generation))
	if err != nil || len(list) == 0 {
		return nil, fault.While("read the next run", err)
	}
	return &list[0], nil
}

// Runs returns the newest runs, the newest first.
func (s *Store) Runs(ctx context.Context, db postgres.Querier, f RunFilter, limit int) ([]Run, error) {
	list, err := postgres.Collect[Run](db.Query(ctx, sqlRuns, f.Environment, f.Name, f.Repository, f.Commit, f.Application, limit))
	return list, fault.While("read runs", err)
}

// LogPage is how many lines of a log are read at once.
const LogPage = 1000

// Logs returns up to [LogPage] lines of a run's log after the line with an id.
func (s *Store) Logs(ctx context.Context, db postgres.Querier, run, after int64) ([]LogLine, error) {
	list, err := postgres.Collect[LogLine](db.Query(ctx, sqlLogs, run, after, LogPage))
	return list, fault.While("read log", err)
}

// Succeeded returns the generations of an application whose runs succeeded.
func (s *Store) Succeeded(ctx context.Context, db postgres.Querier, application int64) ([]int64, error) {
	rows, err := db.Query(ctx, sqlSucceeded, application)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// former returns the names that a run's application had before.
func (s *Store) former(ctx context.Context, db postgres.Querier, r Run) ([]string, error) {
	rows, err := db.Query(ctx, sqlFormer, r.Application, r.Environment, r.Name)
	if err != nil {
		return nil, fmt.Errorf("read former names: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// contested says whether something of an earlier run may still be on its way to the target.
func (s *Store) contested(ctx context.Context, db postgres.Querier, r Run) (yes bool, err error) {
	err = db.QueryRow(ctx, sqlContested, r.Application, r.Generation).Scan(&yes)
	return yes, fault.While("read the run before", err)
}

// jobArgs are the arguments of a job that executes a run.
type jobArgs struct {
	Run int64 `json:"run"`
	// Trace is what asked for it.
	Trace trace.Parent `json:"trace,omitempty"`
}

// Enqueuer is what scheduling needs of the queue.
type Enqueuer interface {
	Enqueue(ctx context.Context, tx pgx.Tx, inserts ...queue.Insert) ([]queue.Enqueued, error)
	Lock(ctx context.Context, tx pgx.Tx, keys ...string) error
}

// LockJobs takes the locks of applications' jobs. Whoever locks an application's row and schedules a run does it first, as
// the queue does before it tells of a job's end: two such transactions then take turns, and do not wait for each other.
func (s *Store) LockJobs(ctx context.Context, tx pgx.Tx, q Enqueuer, applications ...int64) error {
	keys := make([]string, len(applications))
	for i, id := range applications {
		keys[i] = jobKey(id)
	}
	return q.Lock(ctx, tx, keys...)
}

// Schedule stores a run of a release and puts its job into the queue, in the caller's transaction. Runs of older
// generations that wait are superseded; they are returned.
func (s *Store) Schedule(ctx context.Context, tx pgx.Tx, q Enqueuer, r Run) (id int64, replaced []Run, err error) {
	err = tx.QueryRow(ctx, sqlInsertRun, r.Application, r.Environment, r.Name, r.Repository, r.Generation, r.Kind, r.Plan, r.Commit, r.Paths, r.Atomic, r.Together).Scan(&id)
	if err != nil {
		return 0, nil, fmt.Errorf("store run: %w", err)
	}
	if err := undoBefore(ctx, tx, q, r); err != nil {
		return 0, nil, err
	}
	enqueued, err := q.Enqueue(ctx, tx, queue.Insert{
		Kind: JobKind, Key: jobKey(r.Application), Owner: r.Repository, Generation: r.Generation, Args: jobArgs{Run: id, Trace: trace.From(ctx)},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("enqueue run: %w", err)
	}
	for _, old := range enqueued[0].Replaced {
		var args jobArgs
		if err := (&queue.Job{Args: old.Args}).Bind(&args); err != nil {
			return 0, nil, err
		}
		run, _, err := s.end(ctx, tx, args.Run, Superseded, nil)
		if err == nil {
			err = scheduleTogether(ctx, tx, q, run)
		}
		if err != nil {
			return 0, nil, err
		}
		replaced = append(replaced, run)
	}
	return id, replaced, nil
}

// begin takes the run for the lease with a token, at an attempt of its job. What has ended does not begin again.
func (s *Store) begin(ctx context.Context, db postgres.Querier, id, token int64, attempt int) (Run, error) {
	list, err := postgres.Collect[Run](db.Query(ctx, sqlBegin, id, token, attempt))
	if err != nil {
		return Run{}, fmt.Errorf("begin run %d: %w", id, err)
	}
	if len(list) > 0 {
		return list[0], nil
	}
	run, err := s.Run(ctx, db, id)
	if err == nil && run.State.Final() {
		err = queue.Bury(fault.New(fault.JobFinished, "run %d has ended", id).Do("Run `reconciler retry %s`: it makes a new run.", run.Name))
	}
	if err == nil {
		err = queue.ErrLeaseLost
	}
	return Run{}, fmt.Errorf("begin run %d: %w", id, err)
}

// fence fails when another worker has the run, and keeps others from taking it until the transaction ends. Who is going to
// change the run's own row does that instead, under the same condition: of two that hold the row to read it, none could.
func (s *Store) fence(ctx context.Context, tx pgx.Tx, r Run) error {
	return owned(ctx, tx, sqlFence, r)
}

// alive fails when another worker has the run.
func (s *Store) alive(ctx context.Context, db postgres.Querier, r Run) error {
	return owned(ctx, db, sqlAlive, r)
}

func owned(ctx context.Context, db postgres.Querier, statement string, r Run) error {
	var one int
	err := db.QueryRow(ctx, statement, r.ID, r.Token, r.State).Scan(&one)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("run %d: %w", r.ID, queue.ErrLeaseLost)
	}
	return fault.While("check lease of run", err)
}

// end brings a run into a final state, and says whether it was in none before.
func (s *Store) end(ctx context.Context, tx pgx.Tx, id int64, state State, cause *fault.Fault) (run Run, ended bool, err error) {
	list, err := postgres.Collect[Run](tx.Query(ctx, sqlEnd, id, state, cause))
	if err != nil {
		return Run{}, false, fmt.Errorf("end run %d: %w", id, err)
	}
	if len(list) == 0 {
		run, err = s.Run(ctx, tx, id)
		return run, false, err
	}
	_, err = tx.Exec(ctx, sqlEndSteps, id)
	return list[0], true, fault.While("end steps", err)
}

func oneRun(rows pgx.Rows, err error) (Run, error) {
	list, err := postgres.Collect[Run](rows, err)
	if err != nil {
		return Run{}, fmt.Errorf("read run: %w", err)
	}
	if len(list) == 0 {
		return Run{}, fault.New(fault.RunUnknown, "there is no such run")
	}
	return list[0], nil
}

// JobOf returns the live job that executes a run.
func (s *Store) JobOf(ctx context.Context, q Queue, r Run) (int64, error) {
	list, err := q.List(ctx, queue.Filter{
		Kind: JobKind, Key: jobKey(r.Application), States: []queue.State{queue.Blocked, queue.Ready, queue.Running},
	})
	if err != nil {
		return 0, err
	}
	for _, job := range list {
		if job.Generation == r.Generation {
			return job.ID, nil
		}
	}
	return 0, fault.New(fault.JobFinished, "run %d has ended", r.ID)
}

// jobKey is the key of all jobs of an application: one at a time.
func jobKey(application int64) string { return fmt.Sprintf("application/%d", application) }
