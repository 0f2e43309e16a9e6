//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
)

// outside is everything that we write into the world: commits, statuses and comments, each with what tells one write from
// another.
type outside struct {
	Commits  []string
	Statuses map[string][]int64
	Comments []writtenComment
}

type writtenComment struct {
	ID      int64     `json:"id"`
	Body    string    `json:"body"`
	Updated time.Time `json:"updated_at"`
}

// outside waits until the server is done, and returns what is there then.
func (w *world) outside(pull int64, commits ...string) outside {
	w.Helper()
	w.settled()
	o := outside{Commits: w.commits(), Statuses: map[string][]int64{}}
	for _, c := range commits {
		var list []testenv.Status
		w.must(w.giteaGet("/repos/"+w.app.FullName()+"/statuses/"+c+"?sort=oldest&limit=50", &list))
		for _, s := range list {
			o.Statuses[c] = append(o.Statuses[c], s.ID)
		}
	}
	w.must(w.giteaGet(fmt.Sprintf("/repos/%s/issues/%d/comments", w.app.FullName(), pull), &o.Comments))
	return o
}

// evaluations counts how often a commit of the branch was evaluated.
func (w *world) evaluations() (n int) {
	w.Helper()
	c := w.db()
	w.must(c.QueryRow(w.Context(), `SELECT count(*) FROM job_history WHERE kind = 'branch' AND state = 3`).Scan(&n))
	w.must(c.Close(w.Context()))
	return n
}

// The same commit is evaluated again, its content is pushed again as another commit, its release is run again, and the
// branch goes back to it: no commit in the deployment repository, no status on it, no edit of its comment.
func TestStoryOfTheSameCommitTwiceWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	files := map[string]string{"shop/score.yaml": shop("shop:1", hostResource)}
	head := w.gitea.Commit(t, w.app, testenv.Change{Branch: "add", From: "main", Files: files})
	pull := w.gitea.OpenPull(t, w.app, "add", "main", "Add the shop")
	w.waitStatus(head, "success")
	merge := w.gitea.Merge(t, w.app, pull.Number)
	w.waitDeployed("shop", merge)
	w.waitComment(pull.Number, "deployed as generation 1")
	before := w.outside(pull.Number, head, merge)
	if n := len(before.Comments); n != 1 || len(before.Statuses[merge]) == 0 {
		t.Fatalf("there are %d comments and the statuses %v", n, before.Statuses)
	}
	same := func(what string) {
		t.Helper()
		if diff := cmp.Diff(before, w.outside(pull.Number, head, merge)); diff != "" {
			t.Errorf("%s wrote something (-before +now):\n%s", what, diff)
		}
	}

	t.Log("the same commit evaluated again")
	evaluated := w.evaluations()
	if out, err := w.reconciler("resume", "shop"); err != nil {
		t.Fatal(out, err)
	}
	w.settled()
	if now := w.evaluations(); now <= evaluated {
		t.Errorf("the commit was evaluated %d times before and %d now", evaluated, now)
	}
	same("evaluating the same commit again")

	t.Log("the same content pushed as another commit")
	work := w.clone(w.app)
	work("commit", "--quiet", "--allow-empty", "--message", "The same once more")
	work("push", "--quiet", "origin", "main")
	second := work("rev-parse", "HEAD")
	w.waitStatus(second, "success")
	if a := w.application("shop"); a.State != "deployed" || a.Generation != 1 {
		t.Errorf("the application is %s with generation %d", a.State, a.Generation)
	}
	same("the same content as another commit")
	if states := w.history(second); !slices.Equal(states, []string{"pending", "success"}) && !slices.Equal(states, []string{"success"}) {
		t.Errorf("the other commit has the statuses %q", states)
	}

	t.Log("its release run again")
	var run apply.Run
	out, err := w.reconciler("rollback", "shop", "--to", "1")
	w.must(err)
	_, after, _ := strings.Cut(out, "(run ")
	if _, err := fmt.Sscanf(after, "%d)", &run.ID); err != nil {
		t.Fatal(out, err)
	}
	w.until("the run to end", func() (bool, string) {
		err := w.api("GET", fmt.Sprintf("/runs/%d", run.ID), nil, &run)
		return err == nil && run.State.Final(), string(run.State)
	})
	if run.State != apply.Succeeded || run.Writes != 0 {
		t.Errorf("the run is %s with %d writes, want succeeded with none", run.State, run.Writes)
	}
	same("running the release again")
	if out, err := w.reconciler("resume", "shop"); err != nil {
		t.Fatal(out, err)
	}
	same("evaluating it after the run")

	t.Log("the branch back at the commit")
	work("push", "--quiet", "--force", "origin", merge+":main")
	w.until("the branch to be seen there", func() (bool, string) { a := w.application("shop"); return a.Commit == merge, a.Commit })
	w.waitStatus(merge, "success")
	// A branch that moves has its commit looked at, which is told and comes to what it was; nothing else is written.
	now := w.outside(pull.Number, head, merge)
	delete(before.Statuses, merge)
	delete(now.Statuses, merge)
	if diff := cmp.Diff(before, now); diff != "" {
		t.Errorf("going back to the commit wrote something (-before +now):\n%s", diff)
	}
}
