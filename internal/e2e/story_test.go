//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
)

// shop is the Score file of the story.
func shop(image string, more ...string) string {
	return fmt.Sprintf(`apiVersion: score.dev/v1b1
metadata:
  name: shop
service:
  ports:
    web:
      port: 80
      targetPort: 8080
containers:
  main:
    image: %s
    variables:
      DATABASE: ${resources.db.host}
      PASSWORD: ${resources.db.password}
resources:
  db:
    type: postgres
%s`, image, strings.Join(more, ""))
}

const hostResource = `  host:
    type: dns
  way:
    type: route
    params: {host: "${resources.host.host}", port: web}
`

func TestStoryFromPullRequestToRevert(t *testing.T) {
	t.Parallel()
	story(t, newWorld(t, options{}))
}

// The same story, with the server killed by kill -9 in the middle of each part and started again: of the plan, the
// comment, the look, the merge's evaluation, the delivery before and after its commit, and the removal of a resource.
func TestStorySurvivesKillInEachPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.interrupt = w.killAt
	story(t, w)
}

func story(t *testing.T, w *world) {
	t.Log("a pull request with a new application")
	strike := w.interrupt(atPlan)
	head := w.gitea.Commit(t, w.app, testenv.Change{Branch: "add", From: "main", Files: map[string]string{"shop/score.yaml": shop("shop:1", hostResource)}})
	pull := w.gitea.OpenPull(t, w.app, "add", "main", "Add the shop")
	strike()
	s := w.waitStatus(head, "success")
	if !strings.Contains(s.URL, "/revisions/"+w.app.FullName()+"/"+head) {
		t.Errorf("the status leads to %q", s.URL)
	}
	if states := w.history(head); states[0] != "pending" {
		t.Errorf("pending was not told before success: %q", states)
	}
	first := w.waitComment(pull.Number, "first deployment", "<b>shop</b>", "shop:1")
	if a := w.application("shop"); a.State != "" {
		t.Errorf("the pull request alone made the application %q", a.State)
	}

	t.Log("another push to it")
	strike = w.interrupt(afterComment)
	head = w.gitea.Commit(t, w.app, testenv.Change{Branch: "add", Files: map[string]string{"shop/score.yaml": shop("shop:2", hostResource)}})
	strike()
	w.waitStatus(head, "success")
	if again := w.waitComment(pull.Number, "shop:2"); again.ID != first.ID {
		t.Errorf("comment %d was written instead of editing %d", again.ID, first.ID)
	}

	t.Log("a broken file")
	strike = w.interrupt(atPlan)
	broken := strings.Replace(shop("shop:2", hostResource), "image:", "imaage:", 1)
	head = w.gitea.Commit(t, w.app, testenv.Change{Branch: "add", Files: map[string]string{"shop/score.yaml": broken}})
	strike()
	if s := w.waitStatus(head, "failure"); !strings.Contains(s.Description, "shop/score.yaml:11") {
		t.Errorf("the status does not tell the line: %q", s.Description)
	}
	w.waitComment(pull.Number, "shop/score.yaml:11:5", "imaage", "did you mean image?", "ORC-1012")

	t.Log("repaired")
	strike = w.interrupt(atLook)
	head = w.gitea.Commit(t, w.app, testenv.Change{Branch: "add", Files: map[string]string{"shop/score.yaml": shop("shop:1", hostResource)}})
	strike()
	w.waitStatus(head, "success")
	w.waitComment(pull.Number, "shop:1")

	t.Log("merged")
	strike = w.interrupt(atEvaluation)
	merge := w.gitea.Merge(t, w.app, pull.Number)
	strike()
	w.waitDeployed("shop", merge)
	w.waitStatus(merge, "success")
	if record := w.waitComment(pull.Number, "deployed as generation 1", "To undo: revert the merge commit"); record.ID != first.ID {
		t.Errorf("the record is comment %d, not %d", record.ID, first.ID)
	}
	firstRelease := w.release()
	for path, text := range map[string]string{
		"environments/production/shop/shop.deployment.apps.yaml": "image: shop:1",
		"environments/production/_applications/shop.yaml":        "kind: Application",
	} {
		if !strings.Contains(firstRelease[path], text) {
			t.Errorf("%s does not hold %q: %s", path, text, firstRelease[path])
		}
	}
	for path, content := range firstRelease {
		if strings.Contains(path, "secret") || strings.Contains(content, "kind: Secret\n") {
			t.Errorf("a Secret is in the deployment repository: %s", path)
		}
	}

	t.Log("a change by another pull request")
	strike = w.interrupt(afterComment)
	w.gitea.Commit(t, w.app, testenv.Change{Branch: "change", From: "main", Files: map[string]string{"shop/score.yaml": shop("shop:3", hostResource)}})
	second := w.gitea.OpenPull(t, w.app, "change", "main", "Raise the shop")
	strike()
	w.waitComment(second.Number, "shop:1 → shop:3", "shop/score.yaml:11:12")
	strike = w.interrupt(afterDelivery)
	merge = w.gitea.Merge(t, w.app, second.Number)
	strike()
	if a := w.waitDeployed("shop", merge); a.Applied != 2 {
		t.Errorf("generation %d is applied, want 2", a.Applied)
	}
	w.waitComment(second.Number, "deployed as generation 2")
	if text := w.release()["environments/production/shop/shop.deployment.apps.yaml"]; !strings.Contains(text, "image: shop:3") {
		t.Errorf("the change is not delivered: %s", text)
	}

	t.Log("reverted by a commit")
	strike = w.interrupt(beforeDelivery)
	revert := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"shop/score.yaml": shop("shop:1", hostResource)}, Message: "Revert \"Raise the shop\""})
	strike()
	if a := w.waitDeployed("shop", revert); a.Applied != 3 {
		t.Errorf("generation %d is applied, want 3", a.Applied)
	}
	w.waitStatus(revert, "success")
	if diff := cmp.Diff(firstRelease, w.release()); diff != "" {
		t.Errorf("the first release is not back, byte for byte (-first +now):\n%s", diff)
	}

	t.Log("a resource removed")
	strike = w.interrupt(atRetirement)
	removed := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"shop/score.yaml": shop("shop:1")}})
	strike()
	w.waitDeployed("shop", removed)
	for path := range w.release() {
		if strings.Contains(path, "httproute") {
			t.Errorf("%s is still there", path)
		}
	}

	t.Log("the same release once more")
	strike = w.interrupt(beforeDelivery)
	before := w.commits()
	var run apply.Run
	if err := w.api(http.MethodPost, "/applications/production/shop/rollback", map[string]int64{"generation": 4}, &run); err != nil {
		t.Fatal(err)
	}
	strike()
	w.until("the run to end", func() (bool, string) {
		err := w.api(http.MethodGet, fmt.Sprintf("/runs/%d", run.ID), nil, &run)
		return err == nil && run.State.Final(), string(run.State)
	})
	if run.State != apply.Succeeded || run.Writes != 0 {
		t.Errorf("the run is %s with %d writes, want succeeded with none", run.State, run.Writes)
	}
	if diff := cmp.Diff(before, w.commits()); diff != "" {
		t.Errorf("the deployment repository has commits that nobody needed:\n%s", diff)
	}
	want := []string{"Deploy shop in production, generation 1", "Deploy shop in production, generation 2", "Deploy shop in production, generation 3", "Deploy shop in production, generation 4"}
	if diff := cmp.Diff(want, slices.DeleteFunc(before, func(s string) bool { return !strings.HasPrefix(s, "Deploy") })); diff != "" {
		t.Errorf("one commit per run (-want +got):\n%s", diff)
	}
}

// release returns what the deployment repository holds for the environment.
func (w *world) release() map[string]string {
	w.Helper()
	files := w.checkout(w.deploy)
	maps.DeleteFunc(files, func(path, _ string) bool { return !strings.HasPrefix(path, "environments/") })
	return files
}
