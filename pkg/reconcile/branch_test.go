package reconcile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
)

func TestCommitIsDeployedWithItsOverride(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commit := w.push(map[string]string{"a/score.yaml": file("alpha", "a:1"), "a/score.production.yaml": "containers: {main: {image: a:9}}\n"})
	w.equal("alpha a/score.yaml 1/1", w.apps())
	w.equal("a:9", w.deployed("alpha"))
	w.equal("success: 1 deployed", w.said(commit))
	// Nothing that a release depends on is different.
	plans := w.rows("SELECT id FROM plans")
	again := w.push(map[string]string{"README": "x"})
	w.equal("alpha a/score.yaml 1/1", w.apps())
	w.equal("success: 0 of 1 applications change", w.said(again))
	w.equal(plans, w.rows("SELECT id FROM plans"))
}

func TestMovedFileStaysWhatItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": file("alpha", "a:1", database)})
	w.push(map[string]string{"a/score.yaml": "", "b/score.yaml": file("alpha", "a:1", database)})
	w.equal("alpha b/score.yaml 1/1", w.apps())
	w.push(map[string]string{"a/score.yaml": file("beta", "b:1"), "b/score.yaml": file("alpha", "a:2", database)})
	w.equal("alpha b/score.yaml 2/2\nbeta a/score.yaml 1/1", w.apps())
	w.push(map[string]string{"a/score.yaml": file("alpha", "a:2", database), "b/score.yaml": file("beta", "b:1")})
	w.equal("alpha a/score.yaml 2/2\nbeta b/score.yaml 1/1", w.apps())
}

func TestRemovedFirstDocumentRemovesItsOwnWorkload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("one", "a:1") + "---\n" + file("two", "b:1")})
	w.equal("one score.yaml 1/1\ntwo score.yaml#2 1/1", w.apps())
	w.push(map[string]string{"score.yaml": file("two", "b:1")})
	w.equal("two score.yaml 1/1", w.apps())
	w.equal("", w.deployed("one"))
	w.equal("b:1", w.deployed("two"))
}

func TestRenamedWorkloadIsTheSameApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("old", "a:1")})
	w.push(map[string]string{"score.yaml": file("new", "a:1")})
	w.equal("new score.yaml 2/2", w.apps())
	w.equal("", w.deployed("old"))
	w.equal("a:1", w.deployed("new"))
}

func TestBrokenFileRemovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("one", "a:1") + "---\n" + file("two", "b:1"), "z/score.yaml": file("three", "c:1")})
	commit := w.push(map[string]string{"score.yaml": file("one", "a:1") + "---\n" + strings.Replace(file("two", "b:1"), "image", "imaage", 1), "z/score.yaml": file("three", "c:2")})
	w.equal("one score.yaml 1/1 faulty\nthree z/score.yaml 2/2\ntwo score.yaml#2 1/1", w.apps())
	if s := w.said(commit); !strings.HasPrefix(s, "failure: 1 invalid, 1 deployed: ") {
		t.Error(s)
	}
	// A file that is no Score file any more is a mistake, not a removal.
	w.push(map[string]string{"score.yaml": "kind: List\n"})
	w.equal("one score.yaml 1/1 faulty\nthree z/score.yaml 2/2\ntwo score.yaml#2 1/1", w.apps())
	w.push(map[string]string{"score.yaml": file("one", "a:1") + "---\n" + file("two", "b:1")})
	w.equal("one score.yaml 1/1\nthree z/score.yaml 2/2\ntwo score.yaml#2 1/1", w.apps())
}

func TestNameBelongsToWhoHadItFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"b/score.yaml": file("alpha", "a:1")})
	commit := w.push(map[string]string{"a/score.yaml": file("alpha", "thief:1")})
	w.equal("a:1", w.deployed("alpha"))
	if s := w.said(commit); !strings.Contains(s, "belongs to shop/app b/score.yaml") {
		t.Error(s)
	}
	w.push(map[string]string{"a/score.yaml": "", "b/score.yaml": file("alpha", "a:1")})
	w.equal("alpha b/score.yaml 1/1", w.apps())
}

func TestRemovingEverythingWaitsForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1"), "README": "x"})
	w.push(map[string]string{"score.yaml": ""})
	w.equal("alpha score.yaml 1/1 waiting", w.apps())
	a := w.app("alpha")
	if a.WaitingFor.Code != fault.DeletesAll {
		t.Errorf("it waits for %v", a.WaitingFor)
	}
	w.code(w.Confirm(t.Context(), "nonsense", "dana"), fault.PlanUnknown)
	if err := w.Confirm(t.Context(), a.Waiting, "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("", w.apps())
	w.equal("", w.deployed("alpha"))
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.equal("alpha score.yaml 3/3", w.apps())
}

func TestLossOfDataWaitsForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1", database)})
	w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	w.equal("alpha score.yaml 1/1 waiting", w.apps())
	outdated := w.app("alpha").Waiting
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:3")})
	w.code(w.Confirm(t.Context(), outdated, "dana"), fault.PlanOutdated)
	w.equal("pending: 1 waiting for a confirmation", w.said(commit))
	if err := w.Confirm(t.Context(), w.app("alpha").Waiting, "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("alpha score.yaml 2/2", w.apps())
	w.equal("a:3", w.deployed("alpha"))
	w.code(w.Confirm(t.Context(), outdated, "dana"), fault.PlanNotWaiting)
}

func TestHoldResumeRollbackAndRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		w.quiet()
	}
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	_, err := w.Rollback(ctx, "production", "alpha", 0, "", "dana")
	w.code(err, fault.NothingToUndo)
	_, err = w.Retry(ctx, "production", "alpha")
	w.code(err, fault.RunNotRetryable)
	must(w.Hold(ctx, "production", "alpha", "a holiday", "dana"))
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	w.equal("a:1", w.deployed("alpha"))
	w.equal("success: 1 on hold", w.said(commit))
	must(w.Resume(ctx, "production", "alpha"))
	w.equal("a:2", w.deployed("alpha"))
	w.equal("success: 1 deployed", w.said(commit))
	run, err := w.Rollback(ctx, "production", "alpha", 0, "", "dana")
	must(err)
	if run.Kind != apply.Rollback {
		t.Errorf("the run is %+v", run)
	}
	w.equal("a:1", w.deployed("alpha"))
	w.equal("alpha score.yaml 3/3 held", w.apps())
	must(w.Resume(ctx, "production", "alpha"))
	w.equal("a:2", w.deployed("alpha"))
	w.equal("alpha score.yaml 4/4", w.apps())
}

func TestUnreadableCommitStoresNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.source.spoil.Store(fault.New(fault.MirrorDamaged, "an object is missing"))
	before := w.apps()
	commit := w.repo.Commit("main", map[string]string{"score.yaml": file("alpha", "a:2")})
	w.hint(ours)
	w.until("attempts to fail", func() bool {
		return w.rows("SELECT kind FROM jobs WHERE kind = 'branch' AND attempt >= 3") != ""
	})
	w.equal(before, w.apps())
	w.equal("pending: looking at the commit", w.said(commit))
	w.source.spoil.Store(nil)
	w.quiet()
	w.equal("a:2", w.deployed("alpha"))
}

// A commit that the branch goes back to, and leaves again before it was looked at anew, goes on to say what it said.
func TestCommitThatIsPassedOverAgainKeepsWhatItSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	second := w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	w.source.spoil.Store(fault.New(fault.MirrorDamaged, "an object is missing"))
	w.repo.Run("update-ref", "refs/heads/main", first)
	w.hint(ours)
	w.until("the first to be looked at anew", func() bool { return w.said(first) == "pending: looking at the commit" })
	w.repo.Run("update-ref", "refs/heads/main", second)
	w.hint(ours)
	w.until("the first to say what it said", func() bool { return w.said(first) == "success: 1 deployed" })
}

// A commit whose turn never comes does not stay pending.
func TestCommitThatIsPassedOverIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.source.spoil.Store(fault.New(fault.MirrorDamaged, "an object is missing"))
	second := w.repo.Commit("main", map[string]string{"score.yaml": file("alpha", "a:2")})
	w.hint(ours)
	w.until("an attempt to fail", func() bool {
		return w.rows("SELECT kind FROM jobs WHERE kind = 'branch' AND attempt >= 2") != ""
	})
	third := w.repo.Commit("main", map[string]string{"score.yaml": file("alpha", "a:3")})
	w.hint(ours)
	w.until("the third to be seen", func() bool { return w.said(third) != "" })
	w.source.spoil.Store(nil)
	w.quiet()
	w.equal("success: 1 deployed", w.said(first))
	w.equal("success: superseded by a newer commit", w.said(second))
	w.equal("success: 1 deployed", w.said(third))
}

func TestPlatformChangeSaysNothingIfNothingChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	reports := w.rows("SELECT target || context || version FROM reports ORDER BY 1")
	w.offer(platform.Files{"environments/production.yaml": production, "environments/other.yaml": "target: {directory: {path: other}}\n"})
	w.quiet()
	w.equal("alpha score.yaml 1/1", w.apps())
	w.equal(reports, w.rows("SELECT target || context || version FROM reports ORDER BY 1"))
	w.offer(platform.Files{"environments/production.yaml": production + "namespace: elsewhere\n"})
	w.quiet()
	w.equal("alpha score.yaml 2/2", w.apps())
	w.equal("success: 1 deployed", w.said(commit))
}

// A platform without an environment in which something runs is refused, until nothing runs there; and an environment that
// does not exist does not stop the others of its branch.
func TestEnvironmentInUseStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := platform.Files{"environments/production.yaml": production, "environments/second.yaml": "target: {directory: {path: second}}\n"}
	w.offer(both)
	repo, err := getRepository(w)
	if err != nil {
		t.Fatal(err)
	}
	repo.Branches["main"] = []string{"second", "production"}
	w.tx(func(tx pgx.Tx) error { return w.watcher.Put(t.Context(), tx, repo) })
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	var faults fault.List
	refuse := func() (changed bool) {
		w.tx(func(tx pgx.Tx) (err error) {
			changed, faults, err = w.Platform.Offer(t.Context(), tx, w.candidate(tx, platform.Files{"environments/production.yaml": production}))
			return err
		})
		return changed
	}
	if refuse() || len(faults) != 1 || faults[0].Code != fault.EnvironmentInUse {
		t.Errorf("the faults are %v", faults)
	}
	// Nobody could remove what a repository left behind that is not watched any more.
	w.tx(func(tx pgx.Tx) error { return w.watcher.Drop(t.Context(), tx, ours) })
	if !refuse() || len(faults) > 0 {
		t.Errorf("the faults are %v", faults)
	}
	w.tx(func(tx pgx.Tx) error { return w.watcher.Put(t.Context(), tx, repo) })
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	w.equal("a:2", w.deployed("alpha"))
	w.equal("error: the commit could not be evaluated: there is no environment \"second\" in the platform configuration [ORC-3105]\nsuccess: 1 deployed",
		w.rows(`SELECT state || ': ' || body FROM reports WHERE kind = 'status' AND target = $1 ORDER BY state`, commit))
}

// An environment that delivers to another place does so without a new commit.
func TestNewTargetIsDeliveredTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.offer(platform.Files{"environments/production.yaml": strings.Replace(production, "out", "elsewhere", 1)})
	w.quiet()
	w.equal("alpha score.yaml 2/2", w.apps())
	w.equal("success: 1 deployed", w.said(commit))
	if _, err := os.Stat(filepath.Join(w.data, "elsewhere", "alpha", "alpha.deployment.apps.yaml")); err != nil {
		t.Error(err)
	}
	plan, err := w.Planner.Plans(t.Context(), w.Pool, planner.Filter{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	last, err := w.Planner.Plan(t.Context(), w.Pool, plan[0].ID)
	if err != nil || len(last.Plan.Changes) != 1 || last.Plan.Changes[0].Part != "target" || last.Plan.Changes[0].Fields[0].Path != "directory.path" {
		t.Errorf("the plan is %+v, %v", last.Plan, err)
	}
}

// An environment that a branch gets later is deployed without a new commit.
func TestNewEnvironmentOfABranchIsDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.offer(platform.Files{"environments/production.yaml": production, "environments/second.yaml": "target: {directory: {path: second}}\n"})
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	repo, err := getRepository(w)
	if err != nil {
		t.Fatal(err)
	}
	repo.Branches["main"] = []string{"production", "second"}
	w.tx(func(tx pgx.Tx) error { return w.watcher.Put(t.Context(), tx, repo) })
	w.quiet()
	w.equal("production 1\nsecond 1", w.rows("SELECT environment || ' ' || applied FROM applications ORDER BY 1"))
}

// A failed release is rolled back and told; it can be tried again when the reason is gone.
func TestRetryRepeatsWhatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	obstacle := filepath.Join(w.data, "out", "alpha", "alpha.service.yaml", "foreign")
	if err := os.MkdirAll(obstacle, 0o755); err != nil {
		t.Fatal(err)
	}
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:2", "service: {ports: {web: {port: 80}}}\n")})
	w.equal("alpha score.yaml 3/3 held", w.apps())
	w.equal("a:1", w.deployed("alpha"))
	if s := w.said(commit); !strings.HasPrefix(s, "failure: 1 failed: alpha: ") {
		t.Error(s)
	}
	if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Retry(t.Context(), "production", "alpha"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("alpha score.yaml 4/4", w.apps())
	w.equal("a:2", w.deployed("alpha"))
	w.equal("success: 1 deployed", w.said(commit))
}
