//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
)

const directoryEnvironment = `
namespace: shop
target:
  directory:
    path: target
`

// A release that cannot be delivered is rolled back by itself, held back, and told; the fix goes past the hold.
func TestStoryOfAFailedRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{environment: directoryEnvironment})
	first := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": shop("shop:1")}})
	w.waitDeployed("shop", first)
	// Something that is not ours stands where the next release's file belongs.
	w.must(os.MkdirAll(w.path("data/target/shop/shop-main-files.configmap.yaml/foreign"), 0o755))
	withFile := strings.Replace(shop("shop:2"), "    variables:", "    files:\n      /etc/shop: {content: hello}\n    variables:", 1)
	broken := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": withFile}})
	s := w.waitStatus(broken, "failure")
	if !strings.Contains(s.Description, "1 failed") {
		t.Errorf("the status says %q", s.Description)
	}
	w.until("the rollback to succeed", func() (bool, string) {
		var runs []apply.Run
		err := w.api(http.MethodGet, "/runs?application=shop", nil, &runs)
		return err == nil && len(runs) == 3 && runs[0].Kind == apply.Rollback && runs[0].State == apply.Succeeded, fmt.Sprint(runs)
	})
	a := w.application("shop")
	if a.Hold == nil || !strings.Contains(a.Hold.Reason, "generation 2 failed") || a.Applied != 3 {
		t.Errorf("the application is %+v with hold %+v", a, a.Hold)
	}
	deployment, err := os.ReadFile(w.path("data/target/shop/shop.deployment.apps.yaml"))
	w.must(err)
	if !strings.Contains(string(deployment), "image: shop:1") {
		t.Errorf("the last good release is not back: %s", deployment)
	}
	fix := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"score.yaml": shop("shop:3")}})
	if a := w.waitDeployed("shop", fix); a.Hold != nil {
		t.Errorf("the fix did not lift the hold: %+v", a.Hold)
	}
}

// What happens to a repository's history and files has a defined outcome, and nothing is deleted without proof.
func TestStoryOfHistoryAndAbsence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{environment: directoryEnvironment})
	plain := func(name, image string) string {
		return fmt.Sprintf("apiVersion: score.dev/v1b1\nmetadata: {name: %s}\ncontainers: {main: {image: \"%s\"}}\n", name, image)
	}
	commit := w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"a/score.yaml": plain("alpha", "a:1"), "b/score.yaml": plain("beta", "b:1")}})
	w.waitDeployed("alpha", commit)
	w.waitDeployed("beta", commit)
	work := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", work, "-c", "user.name=Dana", "-c", "user.email=dana@shop.example"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("clone", "--quiet", w.app.GitURL(w.gitea.Admin), ".")
	put := func(path, content string) { w.must(os.WriteFile(work+"/"+path, []byte(content), 0o600)) }

	t.Log("history rewritten and pushed by force")
	put("a/score.yaml", plain("alpha", "a:2"))
	git("commit", "--quiet", "--all", "--amend", "--message", "Rewritten")
	git("push", "--quiet", "--force", "origin", "main")
	if a := w.waitDeployed("alpha", git("rev-parse", "HEAD")); a.Applied != 2 {
		t.Errorf("generation %d is applied, want 2", a.Applied)
	}

	t.Log("a second application claims a name")
	w.must(os.MkdirAll(work+"/c", 0o755))
	put("c/score.yaml", plain("alpha", "thief:1"))
	git("add", "--all")
	git("commit", "--quiet", "--message", "Claim a name")
	git("push", "--quiet", "origin", "main")
	if s := w.waitStatus(git("rev-parse", "HEAD"), "failure"); !strings.Contains(s.Description, "c/score.yaml:2:18") || !strings.Contains(s.Description, "belongs to") {
		t.Errorf("the status says %q", s.Description)
	}
	if a := w.application("alpha"); a.Path != "a/score.yaml" {
		t.Errorf("the name went to %s", a.Path)
	}

	t.Log("a file renamed: the old application goes, a new one comes")
	git("rm", "--quiet", "-r", "c")
	w.must(os.MkdirAll(work+"/renamed", 0o755))
	git("mv", "b/score.yaml", "renamed/score.yaml")
	put("renamed/score.yaml", plain("gamma", "b:1"))
	git("add", "--all")
	git("commit", "--quiet", "--message", "Rename beta to gamma")
	git("push", "--quiet", "origin", "main")
	w.waitDeployed("gamma", git("rev-parse", "HEAD"))
	w.until("beta to be removed", func() (bool, string) { a := w.application("beta"); return a.State == "", a.State })
	if _, err := os.Stat(w.path("data/target/beta")); err == nil {
		t.Error("beta's manifests are still there")
	}

	t.Log("all Score files gone: refused until a person confirms")
	head := git("rev-parse", "HEAD")
	git("rm", "--quiet", "-r", "a", "renamed")
	git("commit", "--quiet", "--message", "Remove everything")
	git("push", "--quiet", "origin", "main")
	w.until("both to wait", func() (bool, string) {
		a, g := w.application("alpha"), w.application("gamma")
		return a.State == "waiting" && g.State == "waiting" && string(a.WaitingFor.Code) == "ORC-4204", a.State + " " + g.State
	})
	git("reset", "--quiet", "--hard", head)
	git("push", "--quiet", "--force", "origin", "main")
	w.until("nothing to wait any more", func() (bool, string) {
		a, g := w.application("alpha"), w.application("gamma")
		return a.State == "deployed" && g.State == "deployed", a.State + " " + g.State
	})

	t.Log("the branch deleted and made again")
	git("push", "--quiet", "origin", "main:refs/heads/other")
	w.must(w.gitea.SetDefaultBranch(t, w.app, "other"))
	git("push", "--quiet", "origin", ":main")
	w.until("the branch to be told gone", func() (bool, string) {
		out, err := w.reconciler("repositories", "-o", "json")
		return err == nil && strings.Contains(out, "ORC-2103"), out
	})
	if a := w.application("alpha"); a.State != "deployed" || a.Applied != 2 {
		t.Errorf("a deleted branch touched alpha: %+v", a)
	}
	put("a/score.yaml", plain("alpha", "a:3"))
	git("commit", "--quiet", "--all", "--message", "Go on")
	git("push", "--quiet", "origin", "HEAD:main")
	w.waitDeployed("alpha", git("rev-parse", "HEAD"))

	t.Log("the repository gone")
	w.gitea.Delete(t, w.app)
	w.until("the repository to be told missing", func() (bool, string) {
		out, err := w.reconciler("repositories")
		return err == nil && strings.Contains(out, "ORC-20"), out
	})
	if a := w.application("alpha"); a.State != "deployed" {
		t.Errorf("a repository that is gone touched alpha: %+v", a)
	}
}
