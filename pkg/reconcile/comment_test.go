package reconcile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
)

// stamp is the time in a comment.
var stamp = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`)

// version is how often something else was said in the comment of a pull request.
func (w *world) version(p forge.Pull) string {
	w.Helper()
	return w.rows(`SELECT version::text FROM reports WHERE kind = 'comment' AND target = $1`, fmt.Sprint(p.Number))
}

// again plans everything anew although nothing is different.
func (w *world) again() {
	w.Helper()
	repo, err := getRepository(w)
	if err != nil {
		w.Fatal(err)
	}
	w.tx(func(tx pgx.Tx) error { return w.Changed(w.Context(), tx, repo) })
	w.quiet()
}

// moved gives a pull request another head and asks for its plan.
func (w *world) moved(p forge.Pull, files map[string]string) forge.Pull {
	w.Helper()
	p.HeadCommit = w.repo.Commit(p.HeadRef, files)
	w.repo.Run("update-ref", fmt.Sprintf("refs/pull/%d/head", p.Number), p.HeadCommit)
	w.rows(`UPDATE pulls SET head_commit = $2, seen_at = clock_timestamp() WHERE number = $1 RETURNING head_commit`, p.Number, p.HeadCommit)
	w.tx(func(tx pgx.Tx) error { return w.Replan(w.Context(), tx, ours, p.Number) })
	return p
}

func TestCommentHasTheTimeOfItsPlanAndIsNotSaidTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	text, before := w.comment(p), w.version(p)
	if !stamp.MatchString(text) || !strings.Contains(text, "generation 1 → 2") || !strings.Contains(text, "http://reconciler/plans/") {
		t.Errorf("the comment does not say which plan it tells: %s", text)
	}
	// A clock that goes on changes nothing.
	w.rows(`UPDATE evaluations SET created_at = created_at - interval '1 day' RETURNING ref`)
	w.again()
	yesterday := w.comment(p)
	if yesterday == text {
		t.Error("the time is not that of the plan")
	}
	w.again()
	w.again()
	if w.comment(p) != yesterday {
		t.Errorf("planning the same again changed the comment from %s to %s", yesterday, w.comment(p))
	}
	if after := w.version(p); before != "1" || after != "2" {
		t.Errorf("the comment had version %s, and has version %s now", before, after)
	}
}

func TestCommentOfAnOlderHeadGetsABannerUntilItIsPlanned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	before := w.comment(p)
	w.source.merge.Store(fault.New(fault.GitUnreachable, "no way"))
	p = w.moved(p, map[string]string{"score.yaml": file("alpha", "a:3")})
	banner := "**Out of date**: a new plan is being made of head " + p.HeadCommit[:7]
	w.until("the banner", func() bool { return strings.Contains(w.comment(p), banner) })
	text := w.comment(p)
	if _, rest, _ := strings.Cut(text, "\n\n### "); !strings.HasSuffix(before, "### "+rest) {
		t.Errorf("below the banner stands something else: %s", text)
	}
	if due := w.rows(`SELECT (run_at > created_at + interval '4 seconds')::text FROM jobs WHERE kind = 'report' AND key LIKE '%comment%' AND state = 1`); due != "true" {
		t.Errorf("the banner does not wait for the plan: %q", due)
	}
	w.source.merge.Store(nil)
	w.quiet()
	if text := w.comment(p); strings.Contains(text, "Out of date") || !strings.Contains(text, "a:1 → a:3") {
		t.Errorf("the new plan did not take the banner's place: %s", text)
	}
}

func TestPullRequestThatCannotBePlannedIsToldInItsComment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	w.source.merge.Store(fault.New(fault.PackTooLarge, "the pack is larger than it may be"))
	p = w.moved(p, map[string]string{"score.yaml": file("alpha", "a:3")})
	w.quiet()
	w.equal("error: the pull request could not be planned: the pack is larger than it may be", w.said(p.HeadCommit))
	if text := w.comment(p); !strings.Contains(text, "could not be planned") || !strings.Contains(text, "ORC-2008") || strings.Contains(text, "a:2") {
		t.Errorf("the comment says: %s", text)
	}
	w.source.merge.Store(nil)
	w.again()
	if text := w.comment(p); !strings.Contains(text, "a:1 → a:3") {
		t.Errorf("the comment says: %s", text)
	}
}

// A plan is the difference to what is deployed: when that moves, it is another plan.
func TestPullRequestIsPlannedAnewWhenItsApplicationIsDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	if text := w.comment(p); !strings.Contains(text, "generation 1 → 2") {
		t.Fatal(text)
	}
	w.back("alpha", 1)
	w.equal("2", w.rows(`SELECT applied::text FROM applications WHERE name = 'alpha'`))
	if text := w.comment(p); !strings.Contains(text, "generation 2 → 3") {
		t.Errorf("the plan is still that from the generation before: %s", text)
	}
}

func TestPullRequestTellsAHoldBeforehand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	if err := w.Hold(t.Context(), "production", "alpha", "the audit", "ann"); err != nil {
		t.Fatal(err)
	}
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	if text := w.comment(p); !strings.Contains(text, "on hold (the audit, by ann)") {
		t.Errorf("the comment says: %s", text)
	}
}

func TestPullRequestTellsTheRunThatGoesOnUntilItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.rows(`INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit)
SELECT application, environment, name, repository, generation + 1, kind, 'running', plan, commit FROM runs RETURNING state`)
	w.rows(`UPDATE applications SET generation = generation + 1 RETURNING name`)
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	if text := w.comment(p); !strings.Contains(text, "ends or stops first: [run 2](http://reconciler/runs/2)") {
		t.Errorf("the comment says: %s", text)
	}
	w.rows(`UPDATE runs SET state = 'cancelled' WHERE id = 2 RETURNING state`)
	w.tx(func(tx pgx.Tx) error {
		run, err := w.Runs.Run(t.Context(), tx, 2)
		if err != nil {
			return err
		}
		return w.RunChanged(t.Context(), tx, run)
	})
	w.quiet()
	if text := w.comment(p); strings.Contains(text, "run 2") {
		t.Errorf("the run is over, and the comment says: %s", text)
	}
}

func TestRecordTellsDurationAndRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	merge := w.repo.Commit("main", map[string]string{"score.yaml": file("alpha", "a:2")})
	w.forge.MergePullAs(ours, p.Number, merge)
	w.hint(ours)
	w.quiet()
	if text := w.comment(p); !strings.Contains(text, "deployed as generation 2 in less than 1 s") || !strings.Contains(text, "merge `"+merge[:7]) || !strings.Contains(text, "platform `") {
		t.Errorf("the record says: %s", text)
	}
	p = w.pull("broken", false, map[string]string{"score.yaml": file("alpha", "a:3", "service: {ports: {web: {port: 80}}}\n")})
	if err := os.MkdirAll(filepath.Join(w.data, "out", "alpha", "alpha.service.yaml", "foreign"), 0o755); err != nil {
		t.Fatal(err)
	}
	merge = w.repo.Commit("main", map[string]string{"score.yaml": file("alpha", "a:3", "service: {ports: {web: {port: 80}}}\n")})
	w.forge.MergePullAs(ours, p.Number, merge)
	w.hint(ours)
	w.quiet()
	if text := w.comment(p); !strings.Contains(text, "rolled back as generation 4") || !strings.Contains(text, "❌ failed after") {
		t.Errorf("the record says: %s", text)
	}
}

// Whoever waits for another run of the same application is told which.
func TestOutcomeTellsWhichRunItWaitsFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.rows(`UPDATE runs SET state = 'running', finished_at = NULL RETURNING state`)
	w.rows(`INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit)
SELECT application, environment, name, repository, generation + 1, kind, 'queued', plan, commit FROM runs RETURNING state`)
	o := outcome(&view{environment: &platform.Environment{Name: "production"}}, &finding{name: "alpha", plan: &planner.Plan{}})
	o.Run = 2
	w.tx(func(tx pgx.Tx) error { return w.update(t.Context(), tx, &o) })
	if o.Behind != 1 || o.State != "queued" {
		t.Errorf("it waits for run %d, want 1; it is %s", o.Behind, o.State)
	}
}

func TestClosedPullRequestHasNoPlanAnyMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	w.forge.ClosePull(ours, p.Number)
	w.hint(ours)
	w.quiet()
	if text := w.comment(p); !strings.Contains(text, "Closed without a merge") || strings.Contains(text, "Merging") || strings.Contains(text, "a:2") {
		t.Errorf("the comment says: %s", text)
	}
}
