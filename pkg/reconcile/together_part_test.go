package reconcile

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// One that a newer commit takes out of it is not waited for.
func TestOneThatLeavesIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	w.asking()
	w.offered(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.push(map[string]string{"b.score.yaml": ""})
	w.equal("alpha a.score.yaml 2/2", w.apps())
	w.equal("a:2", w.deployed("alpha"))
}

// It left by a commit, which failed and was rolled back: that is its own affair.
func TestOneThatLeftAndIsRolledBackLaterIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	w.asking()
	w.offered(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.block("alpha", "alpha.service.yaml")
	w.send(map[string]string{"a.score.yaml": file("alpha", "a:3") + port})
	w.until("alpha to be rolled back", func() bool {
		r := w.newest("alpha")
		return r.Kind == apply.Rollback && r.State.Final()
	})
	w.approve("beta")
	w.until("beta to be deployed", func() bool { return w.newest("beta").State == apply.Succeeded })
	w.equal("a:1 b:2", w.deployed("alpha")+" "+w.deployed("beta"))
}

// One whose way back cannot be read keeps none of the others where they are, and people are told.
func TestOneThatCannotBeTakenBackKeepsNoneOfTheOthersFromIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1"), "c.score.yaml": suite("gamma", "c:1")})
	w.askingAfterwards()
	commit := w.send(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2"), "c.score.yaml": suite("gamma", "c:2")})
	w.until("alpha to ask", func() bool {
		return strings.HasPrefix(w.newest("alpha").Waits, "ask") && w.deployed("beta") == "b:2" && w.deployed("gamma") == "c:2"
	})
	hidden := w.rows(`SELECT encode(hidden, 'hex') FROM releases WHERE application = $1 AND generation = 1`, w.app("beta").ID)
	hide := func(value string) {
		t.Helper()
		w.rows(`UPDATE releases SET hidden = decode($2, 'hex') WHERE application = $1 AND generation = 1 RETURNING ''`, w.app("beta").ID, value)
	}
	hide("00")
	if err := w.Runner.Decide(t.Context(), w.newest("alpha").ID, apply.Approval{Who: "ann"}); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("a:1 b:2 c:1", w.deployed("alpha")+" "+w.deployed("beta")+" "+w.deployed("gamma"))
	if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 failed, 1 not undone, 1 deployed, 1 taken back: ") {
		t.Error(said)
	}
	if why := w.newest("beta").Kept; why == nil || !strings.HasPrefix(why.Message, "it is not taken back: read release ") {
		t.Error(why)
	}
	// When it can be read again, a person has it tried again.
	hide(hidden)
	dead, err := w.queue.List(t.Context(), queue.Filter{Kind: apply.TogetherKind, States: []queue.State{queue.Dead}})
	if err != nil || len(dead) != 1 {
		t.Fatal(dead, err)
	}
	if _, err := w.queue.Retry(t.Context(), dead[0].ID); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("b:1", w.deployed("beta"))
	if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 failed, 2 taken back: ") {
		t.Error(said)
	}
}

// One whose old name belongs to another application by now has no way back, and people are told.
func TestOneThatHasNoWayBackIsToldAsThat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	w.askingAfterwards()
	commit := w.send(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("delta", "b:2")})
	w.until("alpha to ask", func() bool {
		return strings.HasPrefix(w.newest("alpha").Waits, "ask") && w.deployed("delta") == "b:2"
	})
	w.send(map[string]string{"c.score.yaml": file("beta", "c:3")})
	w.until("another one to have the name", func() bool { return w.deployed("beta") == "c:3" })
	if err := w.Runner.Decide(t.Context(), w.newest("alpha").ID, apply.Approval{Who: "ann"}); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("a:1 c:3 b:2", w.deployed("alpha")+" "+w.deployed("beta")+" "+w.deployed("delta"))
	if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 failed, 1 not undone, 1 deployed: ") {
		t.Error(said)
	}
	if why := w.newest("delta").Kept; why == nil || !strings.Contains(why.Message, `has the name "beta", which belongs to shop/app c.score.yaml now`) {
		t.Error(why)
	}
}

// Whoever rolls one back to a commit's release means that commit's, and not another one.
func TestACommitThatIsGoneBackToIsNotToldAsTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	second := w.push(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.back("beta", 2)
	w.equal("success: 2 deployed", w.said(second))
	w.back("beta", 1)
	w.equal("success: 2 deployed", w.said(first))
}

// One whose others are gone is alone.
func TestOneThatFailedIsRetriedAloneWhenTheOthersAreGone(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]string{"removed": "", "on its own": file("beta", "b:2")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
			unblock := w.block("alpha", deployment)
			w.push(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
			_, err := w.Retry(t.Context(), "production", "alpha")
			w.code(err, fault.RunNotRetryable)
			w.push(map[string]string{"b.score.yaml": gone})
			unblock()
			if _, err := w.Retry(t.Context(), "production", "alpha"); err != nil {
				t.Fatal(err)
			}
			w.quiet()
			w.equal("a:2", w.deployed("alpha"))
		})
	}
}

// What an older version enqueued says another thing, and is done without doing it.
func TestAJobOfAnOlderVersionTakesNothingBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commit := w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	w.tx(func(tx pgx.Tx) error {
		_, err := w.queue.Enqueue(t.Context(), tx, queue.Insert{Kind: apply.TogetherKind, Key: "together/production/" + ours + "/" + commit, Args: map[string]string{
			"repository": ours, "environment": "production", "commit": commit, "atomic": "suite", "failed": "alpha",
		}})
		return err
	})
	w.quiet()
	w.equal("3", w.rows(`SELECT state::text FROM job_history WHERE kind = $1`, apply.TogetherKind))
	w.equal("alpha a.score.yaml 1/1\nbeta b.score.yaml 1/1", w.apps())
}

// The fix of one may come before the others are taken back: they are deployed with it anew, and go back with it.
func TestAFixThatComesBeforeTheOthersAreTakenBackIsDeployedWithThem(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]map[string]string{
		"beta is as it was": {"a.score.yaml": suite("alpha", "a:3")},
		"beta is new":       {"a.score.yaml": suite("alpha", "a:3"), "b.score.yaml": suite("beta", "b:3")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
			w.askingAfterwards()
			asked := func(commit string) {
				t.Helper()
				w.until("alpha to ask, and beta to be deployed", func() bool {
					a, b := w.newest("alpha"), w.newest("beta")
					return a.Commit == commit && strings.HasPrefix(a.Waits, "ask") && b.State == apply.Succeeded && b.Kind == apply.Deploy && b.Together == a.Together
				})
			}
			reject := func() {
				t.Helper()
				if err := w.Runner.Decide(t.Context(), w.newest("alpha").ID, apply.Approval{Who: "ann"}); err != nil {
					t.Fatal(err)
				}
			}
			asked(w.send(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")}))
			if err := w.queue.Pause(t.Context(), apply.TogetherKind, "dana", ""); err != nil {
				t.Fatal(err)
			}
			reject()
			w.until("alpha to be held", func() bool { return w.app("alpha").Hold != nil && w.deployed("alpha") == "a:1" })
			w.equal("b:2", w.deployed("beta"))
			asked(w.send(again))
			if err := w.queue.Resume(t.Context(), apply.TogetherKind, "dana"); err != nil {
				t.Fatal(err)
			}
			reject()
			w.quiet()
			w.equal("a:1 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
		})
	}
}

// A person who rolls back one that is deployed already, while another one asks whether it may stay, means all.
func TestOneThatIsRolledBackAfterItIsThereTakesTheOthersBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	w.askingAfterwards()
	w.send(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.until("alpha to ask", func() bool {
		return strings.HasPrefix(w.newest("alpha").Waits, "ask") && w.newest("beta").State == apply.Succeeded
	})
	w.back("beta", 1)
	w.quiet()
	w.equal("a:1 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
	w.equal("alpha a.score.yaml 3/3 waiting\nbeta b.score.yaml 3/3 held", w.apps())
	// Once all are there, whoever rolls one back means that one.
	if err := w.Resume(t.Context(), "production", "beta"); err != nil {
		t.Fatal(err)
	}
	w.until("alpha to ask again", func() bool { return strings.HasPrefix(w.newest("alpha").Waits, "ask") })
	w.approve("alpha")
	w.quiet()
	w.equal("a:2 b:2", w.deployed("alpha")+" "+w.deployed("beta"))
	w.back("beta", 1)
	w.equal("a:2 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
}
