package check

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// key names a generation of an application.
type key struct{ application, generation int64 }

type applicationRow struct {
	ID                            int64
	Environment, Name, Repository string
	// Path is its Score file's, below the repository.
	Path                string
	Generation, Applied int64
	Removed             bool
}

type releaseRow struct {
	Application, Generation int64
	Digest, Commit          string
	Of                      *int64
}

type runRow struct {
	ID, Application, Generation, Token, Writes, Together int64
	// Tried is how often its delivery was begun.
	Tried                                                            int64
	Environment, Name, Repository, Kind, State, Plan, Commit, Atomic string
	Created, Finished                                                time.Time
	// Guided says that it follows a golden path, Began that a worker took it.
	Guided, Began bool
}

type reportRow struct {
	Repository, Kind, Target, Context, State, Body string
	Sent                                           bool
}

type pullRow struct {
	Repository, State, HeadCommit, MergeCommit string
	Number                                     int64
}

// history is what the database tells of the past.
type history struct {
	applications map[int64]applicationRow
	releases     map[key]releaseRow
	// runs are by application and generation.
	runs []runRow
	// steps and approvals are those of runs along golden paths.
	steps     map[stepKey]stepRow
	approvals []approvalRow
	reports   []reportRow
	pulls     []pullRow
	// evaluated are the commits that were evaluated on a branch, as OWNER/NAME@COMMIT.
	evaluated map[string]bool
	// left is what is not done; disorder are jobs of one key that took their leases in another order than they were made.
	left, disorder []string
}

const (
	sqlApplications = `SELECT id, environment, name, repository, path, generation, applied, removed_at IS NOT NULL AS removed FROM applications`
	sqlReleases     = `SELECT application, generation, digest, commit, of FROM releases`
	sqlRuns         = `SELECT id, application, generation, token, writes, environment, name, repository, kind, state, plan, commit, atomic, together, created_at AS created, coalesce(finished_at, '9999-12-31'::timestamptz) AS finished, paths IS NOT NULL AS guided, started_at IS NOT NULL AS began,
coalesce((SELECT max(s.attempt) FROM steps s WHERE s.run = runs.id AND s.name IN ('deliver', 'release/deliver')), 0) AS tried
FROM runs ORDER BY application, generation`
	sqlSteps = `SELECT run, name, attempt, asked_at IS NOT NULL AS asked, coalesce(extract(epoch FROM finished_at - asked_at), 0)::float8 AS waited
FROM steps WHERE run IN (SELECT id FROM runs WHERE paths IS NOT NULL)`
	sqlApprovals = `SELECT run, approved FROM approvals`
	sqlReports   = `SELECT repository, kind, target, context, state, body, sent = version AND NOT dead AS sent FROM reports ORDER BY repository, kind, target, context`
	sqlPulls     = `SELECT repository, state, head_commit, merge_commit, number FROM pulls`
	sqlEvaluated = `SELECT DISTINCT repository || '@' || commit FROM evaluations WHERE ref NOT LIKE '#%'`
	// A run along a golden path may fail: its job is dead then, and the run itself is looked at.
	sqlLeft = `SELECT 'job ' || kind || ' of ' || key || ' is left' FROM jobs WHERE kind <> 'look'
UNION ALL SELECT 'job ' || kind || ' of ' || key || ' is dead: ' || coalesce(failures::text, '') FROM job_history
WHERE state = 4 AND NOT (kind = 'run' AND EXISTS (SELECT FROM runs r WHERE r.id = (args ->> 'run')::bigint AND r.state = 'failed' AND r.paths IS NOT NULL))`
	// Jobs of a key are done one after the other: a later one has a later lease.
	sqlDisorder = `SELECT key || ': job ' || id || ' has lease ' || token || ' after ' || before FROM
(SELECT key, id, token, lag(token) OVER (PARTITION BY key ORDER BY id) AS before FROM job_history WHERE token IS NOT NULL AND state = 3) AS j
WHERE token <= before`
)

func readHistory(ctx context.Context, db *pgx.Conn) (*history, error) {
	h := &history{applications: map[int64]applicationRow{}, releases: map[key]releaseRow{}, evaluated: map[string]bool{}, steps: map[stepKey]stepRow{}}
	applications, err := rows[applicationRow](ctx, db, sqlApplications)
	if err != nil {
		return nil, err
	}
	for _, a := range applications {
		h.applications[a.ID] = a
	}
	releases, err := rows[releaseRow](ctx, db, sqlReleases)
	if err != nil {
		return nil, err
	}
	for _, r := range releases {
		h.releases[key{r.Application, r.Generation}] = r
	}
	if h.runs, err = rows[runRow](ctx, db, sqlRuns); err != nil {
		return nil, err
	}
	steps, err := rows[stepRow](ctx, db, sqlSteps)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		h.steps[stepKey{s.Run, s.Name}] = s
	}
	if h.approvals, err = rows[approvalRow](ctx, db, sqlApprovals); err != nil {
		return nil, err
	}
	if h.reports, err = rows[reportRow](ctx, db, sqlReports); err != nil {
		return nil, err
	}
	if h.pulls, err = rows[pullRow](ctx, db, sqlPulls); err != nil {
		return nil, err
	}
	evaluated, err := texts(ctx, db, sqlEvaluated)
	if err != nil {
		return nil, err
	}
	for _, e := range evaluated {
		h.evaluated[e] = true
	}
	if h.left, err = texts(ctx, db, sqlLeft); err != nil {
		return nil, err
	}
	h.disorder, err = texts(ctx, db, sqlDisorder)
	return h, err
}

func rows[T any](ctx context.Context, db *pgx.Conn, sql string) ([]T, error) {
	r, err := db.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(r, pgx.RowToStructByName[T])
}

func texts(ctx context.Context, db *pgx.Conn, sql string) ([]string, error) {
	r, err := db.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(r, pgx.RowTo[string])
}

// live returns the application that has a Score file in an environment now, whatever its name is there.
func (h *history) live(environment, repository, path string) (applicationRow, bool) {
	for _, a := range h.applications {
		if a.Environment == environment && a.Repository == repository && a.Path == path && !a.Removed {
			return a, true
		}
	}
	return applicationRow{}, false
}

// of returns the runs of all applications that ever had a name in an environment, in their order, also those under other names.
func (h *history) of(environment, name string) (list []runRow) {
	had := map[int64]bool{}
	for _, r := range h.runs {
		had[r.Application] = had[r.Application] || r.Environment == environment && r.Name == name
	}
	for _, r := range h.runs {
		if had[r.Application] {
			list = append(list, r)
		}
	}
	// A name is given away by one run and taken by a later one, be they of one application or of two.
	slices.SortFunc(list, func(a, b runRow) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// nameOf returns the name that a generation of an application has, "" if it has no run.
func (h *history) nameOf(application, generation int64) string {
	for _, r := range h.runs {
		if r.Application == application && r.Generation == generation {
			return r.Name
		}
	}
	return ""
}

// names returns all names that an application ever had, the newest first.
func (h *history) names(application int64) (list []string) {
	for _, r := range slices.Backward(h.runs) { // by generation
		if r.Application == application && !slices.Contains(list, r.Name) {
			list = append(list, r.Name)
		}
	}
	return list
}

// contested says whether the newest run before one that began did not succeed: what it pushed may still be on its way.
func (h *history) contested(r runRow) bool {
	found := false
	for _, before := range h.runs { // by generation
		if before.Application == r.Application && before.Generation < r.Generation && before.Token > 0 {
			found = before.State != "succeeded"
		}
	}
	return found
}

// renames says that a run gives an application another name than the one before.
func (c *checker) renames(r runRow) bool {
	before := c.history.nameOf(r.Application, r.Generation-1)
	return before != "" && before != r.Name
}

// mayFail says that a run need not have succeeded: it follows a golden path, which may say no, or somebody cancelled it.
func (c *checker) mayFail(r runRow) bool {
	return r.Guided && r.State == "failed" || r.State == "cancelled" && (r.Guided || c.Cancels[r.ID])
}

// checkRuns looks at the history by itself: everything has ended, and well; every release has its run, and leases grew
// with generations.
func (c *checker) checkRuns(context.Context) error {
	h := c.history
	for _, text := range append(h.left, h.disorder...) {
		c.violated("%s", text)
	}
	have := map[key]runRow{}
	var before runRow
	for _, r := range h.runs {
		have[key{r.Application, r.Generation}] = r
		c.Numbers["runs "+r.State]++
		if well := r.State == "succeeded" || r.State == "superseded"; !well && !c.mayFail(r) {
			c.violated("run %d (%s in %s, generation %d) is %s", r.ID, r.Name, r.Environment, r.Generation, r.State)
		}
		if r.Application == before.Application && r.Token > 0 && r.Token <= before.Token {
			c.violated("run %d of generation %d has lease %d, and run %d of generation %d had %d", r.ID, r.Generation, r.Token, before.ID, before.Generation, before.Token)
		}
		// What undoes a run has a lease of its own, which stands in the run then.
		if undone := r.Guided && r.State != "succeeded"; r.Token > 0 && !undone || r.Application != before.Application {
			before = r
		}
		if _, known := h.releases[key{r.Application, r.Generation}]; !known {
			c.violated("run %d has no release", r.ID)
		}
		if r.State == "succeeded" && c.renames(r) {
			c.Numbers["renames"]++
		}
	}
	for k := range h.releases {
		if _, known := have[k]; !known {
			c.violated("release %d of application %d has no run", k.generation, k.application)
		}
	}
	for id, a := range h.applications {
		newest := have[key{id, a.Generation}]
		if !c.mayFail(newest) && (newest.State != "succeeded" || a.Applied != a.Generation) {
			c.violated("%s in %s: generation %d is %s, applied is %d", a.Name, a.Environment, a.Generation, newest.State, a.Applied)
		}
		if last := have[key{id, a.Applied}]; last.ID != 0 && last.State != "succeeded" {
			c.violated("%s in %s: applied is generation %d, which is %s", a.Name, a.Environment, a.Applied, last.State)
		}
		if a.Removed != (newest.Kind == "remove") {
			c.violated("%s in %s: removed is %t after a run of kind %s", a.Name, a.Environment, a.Removed, newest.Kind)
		}
	}
	return nil
}
