//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/server"
)

const carefulPath = `
description: open a window, ask, deploy, look at every site, close the window
steps:
  - id: open
    http: {method: POST, url: "%[1]s/window", body: {application: "${application}", generation: "${generation}"}}
    outputs: {number: {type: integer, value: response.body.n}}
    compensate: {http: {method: DELETE, url: "%[1]s/window/${steps.open.number}"}}
  - {id: ask, needs: [open], approval: {from: [e2e, boss], text: "Deploy ${application}, ${plan.update} values change?"}}
  - {id: release, needs: [ask], uses: release}
  - {id: look, needs: [release], uses: smoke, with: {sites: [eu, us]}}
  - {id: close, needs: [look], http: {method: DELETE, url: "%[1]s/window/${steps.open.number}?seen=${steps.look.count}"}}
`

const smokePath = `
params: {sites: {type: array}}
steps:
  - id: site
    for_each: params.sites
    retry: {attempts: 5, wait: 100ms, limit: 200ms}
    http: {url: "%[1]s/site/${each.value}", expect: response.status == 200, keep: true}
outputs: {count: {type: integer, value: size(steps.site.status)}}
`

// The platform's path around a deployment: people are asked, a killed server goes on with it, it is paused and resumed, and
// a rejected one is undone.
func TestStoryOfAGoldenPath(t *testing.T) {
	t.Parallel()
	o := testenv.NewOffice(t)
	o.On(func(r *http.Request, n int) int {
		if r.URL.Path == "/site/us" && n == 1 {
			return http.StatusAccepted
		}
		return 0
	})
	w := newWorld(t, options{environment: directoryEnvironment + "path: careful\n", platform: map[string]string{
		"paths/careful.yaml": fmt.Sprintf(carefulPath, o.URL), "paths/smoke.yaml": fmt.Sprintf(smokePath, o.URL),
	}})
	run := func() (r server.Run) {
		t.Helper()
		var list []apply.Run
		w.must(w.api(http.MethodGet, "/runs?application=shop&limit=1", nil, &list))
		w.must(w.api(http.MethodGet, fmt.Sprintf("/runs/%d", list[0].ID), nil, &r))
		return r
	}
	asks := func(commit string) (id string) {
		t.Helper()
		w.until("the run to ask", func() (bool, string) {
			a := w.application("shop")
			return a.State == "asking" && a.Commit == commit, a.State
		})
		return fmt.Sprint(run().ID)
	}
	cli := func(says string, args ...string) string {
		t.Helper()
		out, err := w.reconciler(args...)
		if err != nil || !strings.Contains(out, says) {
			t.Errorf("reconciler %v: %v: %s", args, err, out)
		}
		return out
	}

	t.Log("the server dies while a request is under way, and the request is sent again with its key")
	came, open := o.Hold("POST /window")
	w.gitea.Commit(t, w.app, testenv.Change{Branch: "change", From: "main", Files: map[string]string{"score.yaml": shop("shop:1")}})
	pull := w.gitea.OpenPull(t, w.app, "change", "main", "Change")
	w.waitComment(pull.Number, "shop:1")
	first := w.gitea.Merge(t, w.app, pull.Number)
	came()
	w.stop(os.Kill)
	open()
	w.start()
	id := asks(first)
	if keys := o.Keys("POST /window"); len(keys) != 2 || keys[0] != keys[1] || keys[0] == "" {
		t.Errorf("keys %v", keys)
	}
	w.until("the status to say so", func() (bool, string) {
		s := w.waitStatus(first, "pending")
		return strings.Contains(s.Description, "1 asking: shop: ask: 0 of 1 approvals by e2e, boss until "), s.Description
	})
	w.waitComment(pull.Number, "`reconciler approve "+id+"`")
	cli("0 of 1 approvals", "runs", "show", id)

	t.Log("it is approved, paused while it looks, and resumed")
	came, open = o.Hold("GET /site/eu")
	cli("approved", "approve", id, "--reason", "looks good")
	came()
	cli("pauses", "runs", "pause", id)
	open()
	w.until("the run to be paused", func() (bool, string) { r := run(); return r.Waits == "paused by e2e", r.Waits })
	cli("goes on", "runs", "resume", id)
	w.waitDeployed("shop", first)
	show := cli("approved by e2e", "runs", "show", id)
	for _, text := range []string{"look/site[1]", "succeeded", "looks good", "do.json", "files.txt"} {
		if !strings.Contains(show, text) {
			t.Errorf("%q is missing in\n%s", text, show)
		}
	}
	cli("shop/shop.deployment.apps.yaml", "runs", "artefact", id, "release/deliver", "files.txt")
	cli("answer 200", "logs", "--follow", id)
	if got := o.Asked(); got[len(got)-1] != "DELETE /window/2?seen=2" || len(o.Keys("GET /site/us")) != 2 {
		t.Errorf("the office was asked %v", got)
	}

	t.Log("another one is rejected: what it did is undone, and nothing else is touched")
	second := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": shop("shop:2")}})
	id = asks(second)
	cli("rejected", "reject", id, "ask", "--reason", "not on a Friday")
	s := w.waitStatus(second, "failure")
	if !strings.Contains(s.Description, "e2e rejected step ask: not on a Friday") {
		t.Errorf("the status says %q", s.Description)
	}
	w.until("it to be undone", func() (bool, string) {
		var r server.Run
		err := w.api(http.MethodGet, "/runs/"+id, nil, &r)
		return err == nil && r.Steps[0].UndoneAt != nil, fmt.Sprint(err)
	})
	if got := o.Asked(); got[len(got)-1] != "DELETE /window/3" {
		t.Errorf("the office was asked %v", got)
	}

	t.Log("a commit goes past the question that nobody answers")
	third := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": shop("shop:3")}})
	asks(third)
	fourth := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": shop("shop:4")}})
	id = asks(fourth)
	cli("approved", "approve", id, "ask")
	w.waitDeployed("shop", fourth)
}
