package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/forge/fake"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
)

// pull opens a pull request that changes files, and waits for its plan.
func (w *world) pull(branch string, fork bool, files map[string]string) forge.Pull {
	w.Helper()
	base := w.repo.Run("rev-parse", "main")
	w.repo.Run("update-ref", "refs/heads/"+branch, base)
	head := w.repo.Commit(branch, files)
	p := w.forge.AddPull(ours, forge.Pull{HeadRef: branch, HeadCommit: head, Fork: fork, Title: branch, Author: "dana"})
	w.repo.Run("update-ref", fmt.Sprintf("refs/pull/%d/head", p.Number), head)
	w.hint(ours)
	w.quiet()
	return p
}

func (w *world) comment(p forge.Pull) string {
	w.Helper()
	return w.rows(`SELECT body FROM reports WHERE kind = 'comment' AND target = $1`, fmt.Sprint(p.Number))
}

func TestPullRequestIsPlannedAndNotDeployed(t *testing.T) {
	t.Parallel()
	for _, fork := range []bool{false, true} {
		w := newWorld(t)
		w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
		p := w.pull("change", fork, map[string]string{"score.yaml": file("alpha", "a:2"), "b/score.yaml": file("beta", "b:1")})
		w.equal("alpha score.yaml 1/1", w.apps())
		w.equal("success: 2 of 2 applications change", w.said(p.HeadCommit))
		if text := w.comment(p); !strings.Contains(text, "a:1 → a:2") || !strings.Contains(text, "beta") {
			t.Error(text)
		}
		before := w.rows("SELECT kind || target || version FROM reports ORDER BY 1")
		w.hint(ours)
		w.quiet()
		w.equal(before, w.rows("SELECT kind || target || version FROM reports ORDER BY 1"))
	}
}

// The head of a pull request that ends before it was planned does not stay pending, neither if it gets another head right before
// the end, which nobody sees as long as the pull request is open.
func TestPullRequestThatEndsUnplannedIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want string
		end  func(w *world, number int64)
	}{
		{"closed", func(w *world, number int64) { w.forge.ClosePull(ours, number) }},
		{"merged", func(w *world, number int64) { w.forge.MergePull(ours, number) }},
		{"merged", func(w *world, number int64) {
			w.forge.PushPull(ours, number, w.repo.Commit("change", map[string]string{"score.yaml": file("alpha", "a:3")}))
			w.forge.MergePull(ours, number)
		}},
	} {
		w := newWorld(t)
		w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
		w.source.merge.Store(fault.New(fault.MirrorDamaged, "an object is missing"))
		w.repo.Run("update-ref", "refs/heads/change", w.repo.Run("rev-parse", "main"))
		head := w.repo.Commit("change", map[string]string{"score.yaml": file("alpha", "a:2")})
		p := w.forge.AddPull(ours, forge.Pull{HeadRef: "change", HeadCommit: head, Author: "dana"})
		w.hint(ours)
		w.until("the pull request to be seen", func() bool { return w.said(head) == "pending: planning" })
		test.end(w, p.Number)
		w.hint(ours)
		w.quiet()
		w.equal("success: the pull request was "+test.want+" before it was planned", w.said(head))
	}
}

// A job that begins, and looks only when a newer commit is there already, must not look at that in the place of its own, which
// would be told by nobody.
func TestALateLookLeavesWhatIsNewerToTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	w.push(map[string]string{"score.yaml": file("alpha", "a:3")})
	late := func(args any) *queue.Job {
		text, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		return &queue.Job{Args: text}
	}
	if err := w.branch(t.Context(), late(branchArgs{Repository: ours, Branch: "main", Generation: 1, Commit: first})); !errors.Is(err, queue.ErrSuperseded) {
		t.Errorf("a late look at a branch: %v", err)
	}
	if err := w.Reconciler.pull(t.Context(), late(pullArgs{Repository: ours, Number: p.Number, Generation: 1, Head: first, Base: "main"})); !errors.Is(err, queue.ErrSuperseded) {
		t.Errorf("a late look at a pull request: %v", err)
	}
}

// One that was planned, and ends or gets another head while it is planned anew on another base, keeps what the plan said.
func TestHeadThatIsNotPlannedAnewKeepsItsPlan(t *testing.T) {
	t.Parallel()
	for _, end := range []func(w *world, number int64){
		func(w *world, number int64) { w.forge.ClosePull(ours, number) },
		func(w *world, number int64) {
			w.forge.PushPull(ours, number, w.repo.Commit("change", map[string]string{"score.yaml": file("alpha", "a:3")}))
		},
	} {
		headThatIsNotPlannedAnew(t, end)
	}
}

func headThatIsNotPlannedAnew(t *testing.T, end func(w *world, number int64)) {
	t.Helper()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	w.equal("success: 1 of 1 applications change", w.said(p.HeadCommit))
	w.source.merge.Store(fault.New(fault.MirrorDamaged, "an object is missing"))
	w.repo.Commit("main", map[string]string{"README": "moved"})
	w.hint(ours)
	w.until("it to be planned anew", func() bool { return w.said(p.HeadCommit) == "pending: planning" })
	end(w, p.Number)
	w.hint(ours)
	w.until("the plan to be taken up again", func() bool { return w.said(p.HeadCommit) == "success: 1 of 1 applications change" })
}

func TestConflictIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
	w.push(map[string]string{"score.yaml": file("alpha", "a:3")})
	w.equal("failure: conflicts with main", w.said(p.HeadCommit))
	if text := w.comment(p); !strings.Contains(text, "score.yaml") {
		t.Error(text)
	}
}

func TestMergeWithAnotherPlanStopsOrGoesOn(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"stop", "apply"} {
		w := newWorld(t)
		w.offer(platform.Files{"environments/production.yaml": production + "whenPlanDiffers: " + policy + "\n"})
		w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
		p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
		merge := w.repo.Commit("main", map[string]string{"score.yaml": file("alpha", "a:3")})
		if _, err := w.Pool.Exec(t.Context(), "UPDATE pulls SET state = 'merged', merge_commit = $1 WHERE number = $2", merge, p.Number); err != nil {
			t.Fatal(err)
		}
		w.forge.ClosePull(ours, p.Number)
		w.hint(ours)
		w.quiet()
		if policy == "apply" {
			w.equal("alpha score.yaml 2/2", w.apps())
			continue
		}
		w.equal("alpha score.yaml 1/1 waiting", w.apps())
		if f := w.app("alpha").WaitingFor; f.Code != fault.PlanDiffers {
			t.Errorf("it waits for %v", f)
		}
	}
}

// The forge does not answer when a branch moves: what needs Git alone goes on, what needs to know the pull request waits,
// and the record follows.
func TestMergeThatIsSeenLaterGetsItsRecord(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"stop", "apply"} {
		w := newWorld(t)
		w.offer(platform.Files{"environments/production.yaml": production + "whenPlanDiffers: " + policy + "\n"})
		w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
		p := w.pull("change", false, map[string]string{"score.yaml": file("alpha", "a:2")})
		w.forge.Before(func(_ context.Context, c fake.Call) error {
			if c.Method == "Pulls" {
				return fault.New(fault.ForgeUnavailable, "down")
			}
			return nil
		})
		merge := w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
		if policy == "stop" {
			w.equal("alpha score.yaml 1/1 waiting", w.apps())
		} else {
			w.equal("a:2", w.deployed("alpha"))
		}
		w.forge.Before(nil)
		w.forge.MergePullAs(ours, p.Number, merge)
		w.hint(ours)
		w.quiet()
		if text := w.comment(p); !strings.Contains(text, "deployed") {
			t.Error(text)
		}
	}
}

func TestNeighboursAreLookedAtWhenServicesChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.server.CreateRepo(t, "other")
	w.forge.AddRepository("shop/other")
	other.Commit("main", map[string]string{"score.yaml": strings.Replace(file("caller", "c:1"), "}}", `, variables: {HOST: "${resources.api.hostname}:${resources.api.port}"}}}`, 1) +
		"resources: {api: {type: service-port, params: {workload: alpha, port: web}}}\n"})
	w.watch("shop/other", other)
	w.quiet()
	const service = "service: {ports: {web: {port: %d}}}\n"
	w.push(map[string]string{"score.yaml": file("alpha", "a:1", fmt.Sprintf(service, 80))})
	w.equal("alpha score.yaml 1/1\ncaller score.yaml 1/1", w.apps())
	w.push(map[string]string{"score.yaml": file("alpha", "a:1", fmt.Sprintf(service, 81))})
	w.equal("alpha score.yaml 2/2\ncaller score.yaml 2/2", w.apps())
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
