package reconcile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
)

// block puts a folder of somebody else where a file of ours has to go, and returns how to take it away.
func (w *world) block(path ...string) (unblock func()) {
	w.Helper()
	place := filepath.Join(append([]string{w.data, "out"}, path...)...)
	if err := os.RemoveAll(place); err != nil {
		w.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(place, "foreign"), 0o755); err != nil {
		w.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(place); err != nil {
			w.Fatal(err)
		}
	}
}

const deployment = "alpha.deployment.apps.yaml"

// Neither the release nor the return to the last good one could be deployed; the commit that reverts it is.
func TestRevertAfterAFailedRollbackIsDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	unblock := w.block("alpha", deployment)
	w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	w.equal("alpha score.yaml 1/3 held", w.apps())
	if reason := w.app("alpha").Hold.Reason; !strings.Contains(reason, "generation 2 failed") || !strings.Contains(reason, "generation 3 failed") {
		t.Errorf("it is held because %s", reason)
	}
	unblock()
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.equal("alpha score.yaml 4/4", w.apps())
	w.equal("a:1", w.deployed("alpha"))
	w.equal("success: 1 deployed", w.said(commit))
}

func TestResumeDeploysWhatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unblock := w.block("alpha", deployment)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.equal("alpha score.yaml 0/1 held", w.apps())
	unblock()
	w.resume("alpha")
	w.equal("alpha score.yaml 2/2", w.apps())
	w.equal("a:1", w.deployed("alpha"))
}

// What failed is not tried again over a branch that was reverted meanwhile.
func TestRetryIsForWhatTheBranchAsksFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.block("alpha", "alpha.service.yaml")
	w.push(map[string]string{"score.yaml": file("alpha", "a:2", "service: {ports: {web: {port: 80}}}\n")})
	w.equal("alpha score.yaml 3/3 held", w.apps())
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.equal("alpha score.yaml 3/3", w.apps())
	_, err := w.Retry(t.Context(), "production", "alpha")
	w.code(err, fault.RunNotRetryable)
	w.equal("a:1", w.deployed("alpha"))
}

// A person's hold outlives the failure of what ran when it was set.
func TestFailureKeepsAPersonsHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	unblock := w.block("alpha", deployment)
	w.back("alpha", 0)
	hold := w.app("alpha").Hold
	if hold == nil || hold.By != "dana" || hold.Digest != "" || !strings.Contains(hold.Reason, "generation 3 failed") {
		t.Errorf("the hold is %+v", hold)
	}
	unblock()
	w.push(map[string]string{"score.yaml": file("alpha", "a:3")})
	w.equal("", w.deployed("alpha"))
}

func TestRollbackThatDeletesDataNeedsAConfirmation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.push(map[string]string{"score.yaml": file("alpha", "a:2", database)})
	_, err := w.Rollback(t.Context(), "production", "alpha", 0, "", "dana")
	w.code(err, fault.DeletesStateful)
	w.quiet()
	w.equal("alpha score.yaml 2/2", w.apps())
	f, _ := fault.As(err)
	_, after, _ := strings.Cut(f.Remedy, "--confirm ")
	plan := strings.TrimRight(after, "`.")
	if _, err := w.Planner.Plan(t.Context(), w.Pool, plan); err != nil {
		t.Errorf("%s: %v", f.Remedy, err)
	}
	if _, err := w.Rollback(t.Context(), "production", "alpha", 0, plan, "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("alpha score.yaml 3/3 held", w.apps())
	w.equal("a:1", w.deployed("alpha"))
}

// The release that failed made a database: it is undone by itself, but the database stays until a person says so.
func TestFailedReleaseIsUndoneButItsDataStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := func() string {
		found, err := filepath.Glob(filepath.Join(w.data, "out", "zeta", "postgres-zeta-*.statefulset.apps.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(len(found))
	}
	w.push(map[string]string{"score.yaml": file("zeta", "z:1")})
	unblock := w.block("zeta", "zeta.service.yaml")
	w.push(map[string]string{"score.yaml": file("zeta", "z:2", database, port)})
	w.equal("zeta score.yaml 3/3 held", w.apps())
	w.equal("z:1, databases: 1", w.deployed("zeta")+", databases: "+data())
	if reason := w.app("zeta").Hold.Reason; !strings.Contains(reason, "generation 1 is applied again, but what holds data stays") {
		t.Errorf("it is held because %s", reason)
	}
	unblock()
	// The revert asks for what runs. The database is part of the next plan.
	w.push(map[string]string{"score.yaml": file("zeta", "z:1")})
	w.equal("zeta score.yaml 3/3", w.apps())
	w.push(map[string]string{"score.yaml": file("zeta", "z:3")})
	w.equal("zeta score.yaml 3/3 waiting", w.apps())
	w.equal("z:1, databases: 1", w.deployed("zeta")+", databases: "+data())
	if err := w.Confirm(t.Context(), w.app("zeta").Waiting, "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("zeta score.yaml 4/4", w.apps())
	w.equal("z:3, databases: 0", w.deployed("zeta")+", databases: "+data())
}

// The same where the release that failed had another name: what it began to make under that stays until somebody lets it go.
func TestDataOfAFailedRenameStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := func() string {
		var counts []string
		for _, name := range []string{"alpha", "zeta"} {
			found, err := filepath.Glob(filepath.Join(w.data, "out", name, "postgres-"+name+"-*.statefulset.apps.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			counts = append(counts, fmt.Sprint(name, " ", len(found)))
		}
		return strings.Join(counts, ", ")
	}
	confirm := func(name string) {
		t.Helper()
		if err := w.Confirm(t.Context(), w.app(name).Waiting, "dana"); err != nil {
			t.Fatal(err)
		}
		w.quiet()
	}
	w.push(map[string]string{"score.yaml": file("alpha", "a:1", database)})
	unblock := w.block("zeta", "zeta.service.yaml")
	w.push(map[string]string{"score.yaml": file("zeta", "a:2", database, port)})
	confirm("zeta")
	w.equal("alpha score.yaml 3/3 held", w.apps())
	w.equal("a:1, alpha 1, zeta 1", w.deployed("alpha")+", "+data())
	unblock()
	// The revert asks for what runs, and the next release for what is to become of the rest.
	w.push(map[string]string{"score.yaml": file("alpha", "a:1", database)})
	w.push(map[string]string{"score.yaml": file("alpha", "a:3", database)})
	w.equal("alpha score.yaml 3/3 waiting", w.apps())
	w.equal("a:1, alpha 1, zeta 1", w.deployed("alpha")+", "+data())
	// Nobody else gets the name as long as it is there.
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:3", database), "other/score.yaml": file("zeta", "z:1")})
	if s := w.said(commit); !strings.Contains(s, `of application alpha still lies under the name "zeta" [ORC-4014]`) || strings.Contains(s, "belongs to") {
		t.Error(s)
	}
	w.equal("a:1, alpha 1, zeta 1", w.deployed("alpha")+", "+data())
	if apps := w.apps(); !strings.Contains(apps, "alpha score.yaml 3/3 waiting") || strings.Contains(apps, "zeta other/score.yaml 1/1") {
		t.Errorf("the applications are %s", apps)
	}
	confirm("alpha")
	w.equal("a:3, alpha 1, zeta 0", w.deployed("alpha")+", "+data())
}

// The record of a deployment is what came of the commit, whatever has it looked at again.
func TestRecordOfADeploymentStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const service = "service: {ports: {web: {port: 80}}}\n"
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	outcome := func() string {
		return w.rows("SELECT outcome::text FROM evaluations WHERE commit = $1 AND environment = 'production'", commit)
	}
	before := outcome()
	other := w.server.CreateRepo(t, "other")
	w.forge.AddRepository("shop/other")
	other.Commit("main", map[string]string{"score.yaml": file("beta", "b:1", service)})
	w.watch("shop/other", other)
	w.quiet()
	w.equal("alpha score.yaml 1/1\nbeta score.yaml 1/1", w.apps())
	w.equal("success: 1 deployed", w.said(commit))
	w.equal(before, outcome())
}

// What was removed on purpose does not come back because something else at its place fails.
func TestRemovedWorkloadDoesNotComeBackByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": file("alpha", "a:1"), "b/score.yaml": file("beta", "b:1")})
	w.push(map[string]string{"a/score.yaml": ""})
	w.equal("", w.deployed("alpha"))
	w.block("gamma", "gamma.deployment.apps.yaml")
	w.push(map[string]string{"a/score.yaml": file("gamma", "g:1")})
	w.equal("beta b/score.yaml 1/1\ngamma a/score.yaml 0/1 held", w.apps())
	w.equal("", w.deployed("alpha"))
	w.block("alpha", deployment)
	w.push(map[string]string{"c/score.yaml": file("alpha", "a:2")})
	w.equal("alpha c/score.yaml 2/3 held\nbeta b/score.yaml 1/1\ngamma a/score.yaml 0/1 held", w.apps())
}

// An application that was renamed does not take its old name back from who has it now.
func TestRollbackAcrossARename(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": file("old", "a:1")})
	w.push(map[string]string{"a/score.yaml": file("new", "a:1")})
	w.back("new", 1)
	w.equal("old a/score.yaml 3/3 held", w.apps())
	w.equal("a:1 ", w.deployed("old")+" "+w.deployed("new"))
	w.resume("old")
	w.equal("new a/score.yaml 4/4", w.apps())
	w.push(map[string]string{"b/score.yaml": file("old", "b:1")})
	_, err := w.Rollback(t.Context(), "production", "new", 1, "", "dana")
	w.code(err, fault.NameTaken)
	w.block("new", "new.service.yaml")
	w.push(map[string]string{"a/score.yaml": file("new", "a:2", port)})
	w.equal("b:1 a:1", w.deployed("old")+" "+w.deployed("new"))
}

// A removal that failed is held back like a release that failed, and its record stays.
func TestFailedRemovalIsHeldBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": file("alpha", "a:1"), "b/score.yaml": file("beta", "b:1")})
	unblock := w.block(".reconciler", "alpha.fence")
	commit := w.push(map[string]string{"a/score.yaml": ""})
	w.equal("alpha a/score.yaml 1/2 held\nbeta b/score.yaml 1/1", w.apps())
	said := w.said(commit)
	w.again()
	w.equal("alpha a/score.yaml 1/2 held\nbeta b/score.yaml 1/1", w.apps())
	w.equal(said, w.said(commit))
	unblock()
	w.resume("alpha")
	w.equal("beta b/score.yaml 1/1", w.apps())
	w.equal("success: 1 deployed", w.said(commit))
	w.again()
	w.equal("success: 1 deployed", w.said(commit))
}

// A failure stays a failure when something else has its commit looked at again.
func TestFailureIsNotToldAsAHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.block("alpha", "alpha.service.yaml")
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:2", port)})
	before := w.said(commit)
	if !strings.HasPrefix(before, "failure: 1 failed") {
		t.Error(before)
	}
	w.again()
	w.equal(before, w.said(commit))
}

// What is tried again may have become a plan that deletes data.
func TestRetryDeletesNoDataUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1", database)})
	w.block("alpha", deployment)
	w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	if err := w.Confirm(t.Context(), w.app("alpha").Waiting, "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("alpha score.yaml 1/3 held", w.apps())
	_, err := w.Retry(t.Context(), "production", "alpha")
	w.code(err, fault.DeletesStateful)
	w.equal("alpha score.yaml 1/3 held", w.apps())
}

// A plan that waits and that a newer commit has replaced waits no more.
func TestACommitWhosePlanWaitsIsTakenBackByTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1", database)})
	waiting := w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	w.equal("pending: 1 waiting for a confirmation", w.said(waiting))
	again := w.push(map[string]string{"score.yaml": file("alpha", "a:3")})
	w.equal("success: 1 superseded", w.said(waiting))
	w.equal("pending: 1 waiting for a confirmation", w.said(again))
	fixed := w.push(map[string]string{"score.yaml": file("alpha", "a:3", database)})
	w.equal("success: 1 superseded", w.said(again))
	w.equal("success: 1 deployed", w.said(fixed))
}
