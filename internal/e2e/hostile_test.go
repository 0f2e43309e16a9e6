//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/reconcile"
	"github.com/innominatus/reconciler/pkg/status"
)

// A repository can at most fail its own applications: each hostile commit is told with a code and a place, what runs is
// not touched, and a good commit after it deploys.
func TestHostileCommitsHurtNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{environment: directoryEnvironment})
	good := shop("shop:1")
	first := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"shop/score.yaml": good, "other/score.yaml": plainFile("other", "o:1")}})
	w.waitDeployed("shop", first)
	work := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", work, "-c", "user.name=Mallory", "-c", "user.email=m@shop.example", "-c", "protocol.file.allow=always"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("clone", "--quiet", w.app.GitURL(w.gitea.Admin), ".")
	score := work + "/shop/score.yaml"
	file := func(content string) func() { return func() { w.must(os.WriteFile(score, []byte(content), 0o600)) } }
	withFile := func(source string) func() {
		return file(strings.Replace(good, "    variables:", "    files:\n      /etc/x: {source: \""+source+"\"}\n    variables:", 1))
	}
	bomb := "apiVersion: score.dev/v1b1\na: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for _, hostile := range []struct {
		name string
		do   func()
		code string
	}{
		{"a YAML bomb", file(bomb), "ORC-10"},
		{"100 MB", file(strings.Repeat("# nothing here is needed\n", 4<<20)), "ORC-20"},
		{"deep nesting", file("apiVersion: score.dev/v1b1\nx: " + strings.Repeat("[", 100_000)), "ORC-10"},
		{"duplicate keys", file(good + "\nresources: {}\n"), "ORC-1005"},
		{"not UTF-8", file("apiVersion: score.dev/v1b1\nmetadata: {name: \"\xff\xfe\"}\n"), "ORC-1003"},
		{"a NUL", file("apiVersion: score.dev/v1b1\x00\n"), "ORC-1003"},
		{"empty", file(""), "ORC-1006"},
		{"a symlink to the password file", func() { w.must(os.Remove(score)); w.must(os.Symlink("/etc/passwd", score)) }, "ORC-20"},
		{"a submodule", func() {
			w.must(os.Remove(score))
			git("clone", "--quiet", w.deploy.GitURL(w.gitea.Admin), "shop/score.yaml")
		}, "ORC-20"},
		{"a source outside", withFile("../../etc/passwd"), "ORC-4011"},
		{"an absolute source", withFile("/etc/passwd"), "ORC-4011"},
		{"a source that is a folder", withFile("../other"), "ORC-4011"},
		{"a source that is a symlink", func() { withFile("link")(); w.must(os.Symlink("/etc/passwd", work+"/shop/link")) }, "ORC-4011"},
		{"a value that injects", file(strings.Replace(shop("shop:1", hostResource), `"${resources.host.host}"`, `"x\"\n  evil: true"`, 1)), "ORC-400"},
	} {
		t.Log(hostile.name)
		hostile.do()
		git("add", "--all", "--force")
		git("commit", "--quiet", "--message", hostile.name)
		git("push", "--quiet", "--force", "origin", "main")
		commit := git("rev-parse", "HEAD")
		s := w.waitStatus(commit, "failure")
		a := w.application("shop")
		if a.State != "invalid" || a.Applied != 1 || len(a.Faults) == 0 || !strings.HasPrefix(string(a.Faults[0].Code), hostile.code) || a.Faults[0].Place.File == "" {
			t.Errorf("%s: shop is %s, generation %d, with %v (status: %s)", hostile.name, a.State, a.Applied, a.Faults, s.Description)
		}
		if strings.Contains(a.Faults.Error(), "root:") {
			t.Errorf("%s: a file of this machine is told: %v", hostile.name, a.Faults)
		}
		if other := w.application("other"); other.State != "deployed" {
			t.Errorf("%s: the other application is %s", hostile.name, other.State)
		}
		git("reset", "--quiet", "--hard", first)
		git("clean", "-ffdxq")
	}
	w.must(os.WriteFile(score, []byte(shop("shop:2")), 0o600))
	git("commit", "--quiet", "--all", "--message", "Good again")
	git("push", "--quiet", "--force", "origin", "main")
	if a := w.waitDeployed("shop", git("rev-parse", "HEAD")); a.Applied != 2 {
		t.Errorf("generation %d is applied, want 2", a.Applied)
	}

	t.Log("a new application that cannot be read: its revision tells")
	w.must(os.MkdirAll(work+"/fresh", 0o755))
	w.must(os.WriteFile(work+"/fresh/score.yaml", []byte("apiVersion: score.dev/v1b1\nmetadata: {name: fresh}\ncontainers: {main: {imaage: x}}\n"), 0o600))
	git("add", "--all")
	git("commit", "--quiet", "--message", "Add one")
	git("push", "--quiet", "origin", "main")
	commit := git("rev-parse", "HEAD")
	w.waitStatus(commit, "failure")
	var revisions []reconcile.Revision
	w.must(w.api(http.MethodGet, "/revisions/"+w.app.FullName()+"/"+commit, nil, &revisions))
	if len(revisions) != 1 || !slices.ContainsFunc(revisions[0].Outcomes, func(o status.Outcome) bool {
		return o.Application == "fresh/score.yaml" && strings.Contains(o.Faults.Error(), "fresh/score.yaml:3:21")
	}) {
		t.Errorf("the revision says %+v", revisions)
	}
}

func plainFile(name, image string) string {
	return fmt.Sprintf("apiVersion: score.dev/v1b1\nmetadata: {name: %s}\ncontainers: {main: {image: \"%s\"}}\n", name, image)
}

// Anybody who may comment may ask for a new plan, and a pull request that conflicts is told so.
func TestPullRequestConflictsAndPlansAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{environment: directoryEnvironment})
	first := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": shop("shop:1")}})
	w.waitDeployed("shop", first)
	head := w.gitea.Commit(t, w.app, testenv.Change{Branch: "mine", From: "main", Files: map[string]string{"score.yaml": shop("shop:2")}})
	pull := w.gitea.OpenPull(t, w.app, "mine", "main", "Raise it")
	w.waitStatus(head, "success")
	w.waitComment(pull.Number, "shop:1 → shop:2")
	second := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": shop("shop:3")}})
	w.waitDeployed("shop", second)
	w.waitStatus(head, "failure")
	w.waitComment(pull.Number, "conflict", "score.yaml")
	third := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": shop("shop:1")}})
	w.waitDeployed("shop", third)
	w.waitStatus(head, "success")
	w.settled()
	// A hold plans nothing by itself, so that only what `/plan` asks for can tell it.
	if out, err := w.reconciler("hold", "shop", "--reason", "the audit"); err != nil {
		t.Fatal(out, err)
	}
	w.settled()
	if text := w.waitComment(pull.Number, "shop:1 → shop:2").Body; strings.Contains(text, "the audit") {
		t.Fatalf("the hold is told without a new plan: %s", text)
	}
	planned := w.newestPlanJob()
	w.gitea.Comment(t, w.app, w.gitea.Admin, pull.Number, "Once more:\n/plan")
	w.waitComment(pull.Number, "shop:1 → shop:2", "on hold (the audit, by e2e)")
	w.settled()
	told := w.waitComment(pull.Number)
	if now := w.newestPlanJob(); now <= planned {
		t.Errorf("the newest job that planned is %d, as before the command", now)
	}
	w.gitea.Comment(t, w.app, w.gitea.Admin, pull.Number, "/plan")
	again := w.newestPlanJob()
	w.until("another plan", func() (bool, string) { now := w.newestPlanJob(); return now > again, fmt.Sprint(now) })
	w.settled()
	if diff := cmp.Diff(told, w.waitComment(pull.Number)); diff != "" {
		t.Errorf("telling the same again changed the comment:\n%s", diff)
	}
}

// newestPlanJob returns the newest job that planned a pull request.
func (w *world) newestPlanJob() int64 {
	w.Helper()
	var list []queue.Entry
	w.must(w.api(http.MethodGet, "/jobs?kind=pull&state=done", nil, &list))
	if len(list) == 0 {
		return 0
	}
	return list[0].ID
}
