package testenv_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
)

func TestGiteaMergesPullRequestsAndSendsHooks(t *testing.T) {
	t.Parallel()
	g := testenv.Gitea(t)
	events := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only that it came counts
		events <- r.Header.Get("X-Gitea-Event")
	}))
	t.Cleanup(receiver.Close)

	repo := g.NewRepo(t, g.NewOrg(t), true)
	g.AddHook(t, repo, receiver.URL, "secret")
	head := g.Commit(t, repo, testenv.Change{Branch: "change", From: "main", Files: map[string]string{"a/score.yaml": "x", "b": "y"}})
	p := g.OpenPull(t, repo, "change", "main", "A change")
	if p.Head.Sha != head || p.State != "open" {
		t.Errorf("got %+v", p)
	}
	merge := g.Merge(t, repo, p.Number)
	if merge == "" || g.Head(t, repo, "main") != merge {
		t.Errorf("main is not at the merge %q", merge)
	}
	want := map[string]bool{"push": true, "pull_request": true}
	deadline := time.After(time.Minute)
	for len(want) > 0 {
		select {
		case e := <-events:
			delete(want, e)
		case <-deadline:
			t.Fatalf("no events %v", want)
		}
	}
	g.Commit(t, repo, testenv.Change{Files: map[string]string{"c": "z"}, Remove: []string{"a/score.yaml"}})
}

func TestBotMayPushAndCommentWithTheLeastRights(t *testing.T) {
	t.Parallel()
	g := testenv.Gitea(t)
	repo := g.NewRepo(t, g.NewOrg(t), true)
	dir := filepath.Join(t.TempDir(), "clone")
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("clone", "--quiet", repo.GitURL(g.Bot), dir)
	git("-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--allow-empty", "-m", "Nothing")
	git("-C", dir, "push", "--quiet", "origin", "HEAD:refs/heads/pushed")
	if commit := git("-C", dir, "rev-parse", "HEAD"); commit != g.Head(t, repo, "pushed") {
		t.Error("the push did not arrive")
	}
	g.Commit(t, repo, testenv.Change{Branch: "topic", From: "main", Files: map[string]string{"f": "1"}})
	p := g.OpenPull(t, repo, "topic", "main", "Topic")
	id := g.Comment(t, repo, g.Bot, p.Number, "hello")
	if got := g.Comments(t, repo, p.Number); len(got) != 1 || got[0].ID != id || got[0].User.Login != g.Bot.Login {
		t.Errorf("comments: %+v", got)
	}
	g.DeleteComment(t, repo, id)
	if got := g.Comments(t, repo, p.Number); len(got) != 0 {
		t.Errorf("comments after deletion: %+v", got)
	}
}

func TestALockThatGitLeftIsTakenAway(t *testing.T) {
	t.Parallel()
	g := testenv.Gitea(t)
	repo := g.NewRepo(t, g.NewOrg(t), true)
	found, err := filepath.Glob(filepath.Join(os.TempDir(), "reconciler-testgitea-*", "work", "data", "gitea-repositories", repo.Owner, strings.ToLower(repo.Name)+".git", "refs", "heads"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	lock := filepath.Join(found[0], "main.lock")
	hour := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(lock, nil, 0o600), os.Chtimes(lock, hour, hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Unlock(2 * time.Hour); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(lock); err != nil {
		t.Errorf("one that is younger: %v", err)
	}
	if n, err := g.Unlock(time.Minute); n < 1 || err != nil {
		t.Errorf("%d were there, %v", n, err)
	}
	g.Commit(t, repo, testenv.Change{Files: map[string]string{"a": "b"}})
}
