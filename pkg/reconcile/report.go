package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/status"
)

// evaluation is what became of a revision in an environment.
type evaluation struct {
	Repository  string
	Commit      string
	Environment string
	// Ref is a branch, or a pull request as #7.
	Ref        string
	Generation int64
	Outcome    []status.Outcome
	// Blocked: it is the newest one of a branch, and was refused a name or an object that is somebody else's.
	Blocked   bool
	CreatedAt time.Time
}

const (
	evaluationColumns = `repository, commit, environment, ref, generation, outcome, blocked, created_at`
	// The time is that of the outcome: to find the same again makes nothing new.
	sqlStoreEvaluation = `INSERT INTO evaluations AS e (repository, commit, environment, ref, generation, outcome, blocked) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (repository, ref, environment, commit) DO UPDATE SET generation = $5, outcome = $6, blocked = $7,
  created_at = CASE WHEN e.outcome::text = excluded.outcome::text THEN e.created_at ELSE now() END`
	// What an older commit was refused is of no interest any more.
	sqlUnblock = `UPDATE evaluations SET blocked = false WHERE repository = $1 AND ref = $2 AND environment = $3 AND commit <> $4 AND blocked`
	// Older commits of a branch whose plans wait.
	sqlWaiting    = `SELECT ` + evaluationColumns + ` FROM evaluations WHERE repository = $1 AND ref = $2 AND environment = $3 AND commit <> $4 AND waits ORDER BY commit`
	sqlBlocked    = `SELECT DISTINCT repository FROM evaluations WHERE environment = $1 AND blocked`
	sqlEvaluation = `SELECT ` + evaluationColumns + ` FROM evaluations WHERE repository = $1 AND ref = $2 AND environment = $3 AND commit = $4`
	// The commits that tell of runs: their own, and those that found them under way.
	sqlTelling       = `SELECT DISTINCT commit FROM evaluations WHERE repository = $1 AND runs && $2 AND ref NOT LIKE '#%' ORDER BY commit`
	sqlLockRevisions = `SELECT count(pg_advisory_xact_lock(lock)) FROM
(SELECT DISTINCT hashtextextended('revision ' || $1 || ' ' || c, 11) AS lock FROM unnest($2::text[]) c ORDER BY 1) locks`
	sqlEvaluations = `SELECT ` + evaluationColumns + ` FROM evaluations WHERE repository = $1 AND commit = $2 ORDER BY ref, environment`
)

// lockRevisions keeps others from telling what became of commits until the transaction ends. Who tells has to see what all
// before have stored: two runs that end at once would else each tell that the other one still runs.
func lockRevisions(ctx context.Context, tx pgx.Tx, repository string, commits ...string) error {
	_, err := tx.Exec(ctx, sqlLockRevisions, repository, commits)
	return fault.While("lock revisions", err)
}

func (r *Reconciler) storeEvaluation(ctx context.Context, db postgres.Querier, e evaluation) error {
	if e.Outcome == nil {
		e.Outcome = []status.Outcome{}
	}
	if _, err := db.Exec(ctx, sqlStoreEvaluation, e.Repository, e.Commit, e.Environment, e.Ref, e.Generation, e.Outcome, e.Blocked); err != nil {
		return fmt.Errorf("store evaluation: %w", err)
	}
	return nil
}

// passOver tells of older commits of a branch, whose plans wait for a confirmation, that a newer one has taken their place.
func (r *Reconciler) passOver(ctx context.Context, tx pgx.Tx, older []evaluation) error {
	for _, e := range older {
		for i := range e.Outcome {
			if o := &e.Outcome[i]; o.Waiting != nil {
				o.Waiting, o.State = nil, string(apply.Superseded)
			}
		}
		if err := r.storeEvaluation(ctx, tx, e); err != nil {
			return err
		}
	}
	return nil
}

// blocked says whether an application was refused what is somebody else's.
func blocked(o status.Outcome) bool {
	return slices.ContainsFunc(o.Faults, func(f *fault.Fault) bool {
		return slices.Contains([]fault.Code{fault.NameTaken, fault.ObjectTaken, fault.FolderTaken}, f.Code)
	})
}

func (r *Reconciler) loadEvaluation(ctx context.Context, db postgres.Querier, repository, ref, environment, commit string) (*evaluation, error) {
	list, err := evaluations(db.Query(ctx, sqlEvaluation, repository, ref, environment, commit))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

func evaluations(rows pgx.Rows, err error) ([]evaluation, error) {
	if err == nil {
		var list []evaluation
		if list, err = pgx.CollectRows(rows, pgx.RowToStructByName[evaluation]); err == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("read evaluations: %w", err)
}

// refresh tells anew what became of a commit: the status of each environment, and the comment of the pull request whose
// merge made it.
func (r *Reconciler) refresh(ctx context.Context, tx pgx.Tx, repository, commit string) error {
	if err := lockRevisions(ctx, tx, repository, commit); err != nil {
		return err
	}
	list, err := r.ofBranches(ctx, tx, repository, commit)
	if err != nil || len(list) == 0 {
		return err
	}
	var reports []status.Report
	for _, e := range list {
		for i := range e.Outcome {
			if err := r.update(ctx, tx, &e.Outcome[i]); err != nil {
				return err
			}
		}
		if err := r.storeEvaluation(ctx, tx, e); err != nil {
			return err
		}
		state, text := deployed(e.Outcome)
		report := r.statusReport(repository, commit, e.Environment, state, text)
		report.Asks = slices.ContainsFunc(e.Outcome, func(o status.Outcome) bool { return o.Asks != "" })
		reports = append(reports, report)
	}
	pull, merged, err := gitwatch.MergedBy(ctx, tx, repository, commit)
	if err != nil {
		return err
	}
	if merged {
		// Read again for the times of what was stored.
		if list, err = r.ofBranches(ctx, tx, repository, commit); err != nil {
			return err
		}
		comment := r.comment(repository, pull, list...)
		comment.Merge = commit
		reports = append(reports, r.commentReport(repository, pull, comment))
	}
	return r.Outbox.Say(ctx, tx, reports...)
}

// ofBranches returns the evaluations of a commit that are not those of pull requests.
func (r *Reconciler) ofBranches(ctx context.Context, db postgres.Querier, repository, commit string) ([]evaluation, error) {
	list, err := evaluations(db.Query(ctx, sqlEvaluations, repository, commit))
	return slices.DeleteFunc(list, func(e evaluation) bool { return strings.HasPrefix(e.Ref, "#") }), err
}

// update adds to an outcome what its run came to.
func (r *Reconciler) update(ctx context.Context, tx pgx.Tx, o *status.Outcome) error {
	if o.Run == 0 {
		return nil
	}
	run, err := r.Runs.Run(ctx, tx, o.Run)
	if err != nil {
		return err
	}
	o.State, o.Problem, o.Behind, o.Seconds, o.Undone, o.Undoing = string(run.State), nil, 0, seconds(run), 0, ""
	o.Asks, o.Paused, o.NotUndone = run.Waits, run.PausedBy != nil, nil
	if run.Paths != nil && run.State.Final() && run.State != apply.Succeeded {
		if o.NotUndone, err = r.Runs.NotUndone(ctx, tx, run.ID); err != nil {
			return err
		}
	}
	if run.State == apply.Failed {
		o.Problem = run.Fault
	}
	if run.State == apply.Queued {
		others, err := r.Runs.Runs(ctx, tx, apply.RunFilter{Application: run.Application}, 20)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(others, func(other apply.Run) bool { return other.State == apply.Running }); i >= 0 {
			o.Behind = others[i].ID
		}
	}
	if run.State == apply.Failed || run.Together > 0 {
		return r.answered(ctx, tx, run, o)
	}
	return nil
}

// answered adds to an outcome how a run was answered that failed, or that was deployed together with one that did: by the
// rollback that took its place, unless that is of the run itself, for a person can mean that, too.
func (r *Reconciler) answered(ctx context.Context, tx pgx.Tx, run apply.Run, o *status.Outcome) error {
	next, err := r.Runs.Next(ctx, tx, run)
	if err != nil {
		return err
	}
	if next == nil {
		o.NotUndone = cmp.Or(o.NotUndone, run.Kept)
		return nil
	}
	if next.Kind != apply.Rollback || next.Commit != run.Commit {
		return nil
	}
	of, err := r.Planner.Of(ctx, tx, next.Application, next.Generation)
	if err != nil || of == run.Generation {
		return err
	}
	if o.Undone = next.Generation; next.State != apply.Succeeded {
		o.Undoing = string(next.State)
	}
	return nil
}

// seconds is how long a run took, to the millisecond, or 0 while it has not both begun and ended.
func seconds(run apply.Run) float64 {
	if run.StartedAt == nil || run.FinishedAt == nil {
		return 0
	}
	return run.FinishedAt.Sub(*run.StartedAt).Round(time.Millisecond).Seconds()
}

// RunChanged is told by the runner of every change of the states of a repository's runs.
func (r *Reconciler) RunChanged(ctx context.Context, tx pgx.Tx, runs ...apply.Run) error {
	if len(runs) == 0 {
		return nil
	}
	ids, commits := make([]int64, len(runs)), make([]string, len(runs))
	for i, run := range runs {
		if err := r.wakeOthers(ctx, tx, run); err != nil {
			return err
		}
		ids[i], commits[i] = run.ID, run.Commit
	}
	return r.retell(ctx, tx, runs[0].Repository, ids, commits...)
}

// wakeOthers has those looked at again for whom the state of a run means something.
func (r *Reconciler) wakeOthers(ctx context.Context, tx pgx.Tx, run apply.Run) error {
	if run.State == apply.Succeeded {
		if err := r.wakeAfter(ctx, tx, run); err != nil {
			return err
		}
		if err := r.wakeTakenBack(ctx, tx, run); err != nil {
			return err
		}
	}
	if run.State.Final() {
		return r.replanOn(ctx, tx, run)
	}
	return nil
}

// retell tells anew what became of the commits that tell of runs, and of those that are named.
func (r *Reconciler) retell(ctx context.Context, tx pgx.Tx, repository string, runs []int64, commits ...string) error {
	commits, err := lockTelling(ctx, tx, repository, runs, commits...)
	if err != nil {
		return err
	}
	for _, commit := range commits {
		if err := r.refresh(ctx, tx, repository, commit); err != nil {
			return err
		}
	}
	return nil
}

// lockTelling locks the commits that tell of runs, and those that are named, in one order, and returns them.
func lockTelling(ctx context.Context, tx pgx.Tx, repository string, runs []int64, commits ...string) ([]string, error) {
	if len(runs) > 0 {
		rows, err := tx.Query(ctx, sqlTelling, repository, runs)
		if err != nil {
			return nil, fmt.Errorf("read who tells of runs: %w", err)
		}
		more, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("read who tells of runs: %w", err)
		}
		commits = append(commits, more...)
	}
	slices.Sort(commits)
	commits = slices.Compact(commits)
	return commits, lockRevisions(ctx, tx, repository, commits...)
}

// comment is a pull request's comment that tells evaluations.
func (r *Reconciler) comment(repository string, p gitwatch.Pull, told ...evaluation) status.Comment {
	c := status.Comment{
		Marker: r.Marker(repository, p.Number), Instance: r.Instance, URL: r.URL, Base: p.BaseCommit, Head: p.HeadCommit, Redact: r.Redactor.Redact,
	}
	for _, e := range told {
		c.Outcomes = append(c.Outcomes, e.Outcome...)
		if e.CreatedAt.After(c.Time) {
			c.Time = e.CreatedAt
		}
	}
	// One platform serves all environments.
	if i := slices.IndexFunc(c.Outcomes, func(o status.Outcome) bool { return o.Plan != nil }); i >= 0 {
		c.Platform = c.Outcomes[i].Plan.Platform
	}
	return c
}

// Marker is the hidden line by which our comment is known; only we can make it.
func (r *Reconciler) Marker(repository string, pull int64) string {
	about := fmt.Sprintf("%s %s#%d", r.Instance, repository, pull)
	return fmt.Sprintf("<!-- reconciler:v1 %s sig=%s -->", about, r.Keys.Fingerprint("comment " + about)[:16])
}

func (r *Reconciler) commentReport(repository string, p gitwatch.Pull, c status.Comment) status.Report {
	return status.Report{
		Repository: repository, Kind: status.KindComment, Target: strconv.FormatInt(p.Number, 10), Body: c.Render(),
	}
}

// Revision is what became of a commit, for people.
type Revision struct {
	Repository  string           `json:"repository"`
	Commit      string           `json:"commit"`
	Environment string           `json:"environment"`
	Ref         string           `json:"ref"`
	Outcomes    []status.Outcome `json:"outcomes"`
	CreatedAt   time.Time        `json:"createdAt"`
}

// Revisions returns what became of a commit, by ref and environment.
func (r *Reconciler) Revisions(ctx context.Context, db postgres.Querier, repository, commit string) ([]Revision, error) {
	list, err := evaluations(db.Query(ctx, sqlEvaluations, repository, commit))
	if err != nil {
		return nil, err
	}
	out := make([]Revision, len(list))
	for i, e := range list {
		out[i] = Revision{e.Repository, e.Commit, e.Environment, e.Ref, e.Outcome, e.CreatedAt}
	}
	return out, nil
}

// repoint lets the outcome that told of a failed run tell of the one that repeats it.
func (r *Reconciler) repoint(ctx context.Context, tx pgx.Tx, failed, again apply.Run) error {
	list, err := evaluations(tx.Query(ctx, sqlEvaluations, failed.Repository, failed.Commit))
	if err != nil {
		return err
	}
	for _, e := range list {
		changed := false
		for i := range e.Outcome {
			if o := &e.Outcome[i]; o.Run == failed.ID {
				o.Run, o.Generation, o.Held, o.Undone = again.ID, again.Generation, "", 0
				changed = true
			}
		}
		if changed {
			if err := r.storeEvaluation(ctx, tx, e); err != nil {
				return err
			}
		}
	}
	return r.refresh(ctx, tx, failed.Repository, failed.Commit)
}
