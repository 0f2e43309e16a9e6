package reconcile

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
)

// suite is a Score file of an application that is deployed with others or not at all.
func suite(name, image string) string {
	return strings.Replace(file(name, image), "metadata: {name: "+name+"}", "metadata: {name: "+name+", annotations: {reconciler.dev/atomic: suite}}", 1)
}

func TestApplicationsOfACommitFailEachOnItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": file("alpha", "a:1"), "b.score.yaml": file("beta", "b:1")})
	w.block("alpha", deployment)
	commit := w.push(map[string]string{"a.score.yaml": file("alpha", "a:2"), "b.score.yaml": file("beta", "b:2")})
	w.equal("b:2", w.deployed("beta"))
	if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 failed, 1 deployed: alpha: ") {
		t.Error(said)
	}
}

// Runs that end at the same time tell of each other what is, and not what was when they began to end.
func TestAStatusTellsOfAllRunsThatEndAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for round := range 5 {
		files := map[string]string{}
		for i := range 8 {
			name := fmt.Sprint("app", i)
			files[name+".score.yaml"] = file(name, fmt.Sprint("a:", round))
		}
		w.equal("success: 8 deployed", w.said(w.push(files)))
	}
}

func TestApplicationsThatAreDeclaredAtomicGoBackTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1"), "c.score.yaml": file("gamma", "c:1")})
	unblock := w.block("alpha", deployment)
	commit := w.push(map[string]string{
		"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2"), "c.score.yaml": file("gamma", "c:2"), "d.score.yaml": suite("delta", "d:2"),
	})
	w.equal("b:1 c:2 ", w.deployed("beta")+" "+w.deployed("gamma")+" "+w.deployed("delta"))
	w.equal("alpha a.score.yaml 1/3 held\nbeta b.score.yaml 3/3 waiting\ndelta d.score.yaml 2/2 waiting\ngamma c.score.yaml 2/2", w.apps())
	if why := w.app("beta").WaitingFor; why.Code != fault.Together || !strings.Contains(why.Message, "alpha, with which it is deployed, is on hold: generation 2 failed") {
		t.Error(why)
	}
	if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 failed, 1 deployed, 2 taken back: alpha: ") {
		t.Error(said)
	}
	w.again()
	w.equal("b:1 c:2 ", w.deployed("beta")+" "+w.deployed("gamma")+" "+w.deployed("delta"))
	_, err := w.Retry(t.Context(), "production", "alpha")
	w.code(err, fault.RunNotRetryable)
	w.code(w.Confirm(t.Context(), w.app("beta").Waiting, "dana"), fault.PlanNotWaiting)
	unblock()
	// The fix of the one deploys all of them.
	fix := w.push(map[string]string{"a.score.yaml": suite("alpha", "a:3")})
	w.equal("success: 3 deployed", w.said(fix))
	w.equal("a:3 b:2 d:2", w.deployed("alpha")+" "+w.deployed("beta")+" "+w.deployed("delta"))
	w.equal("alpha a.score.yaml 4/4\nbeta b.score.yaml 4/4\ndelta d.score.yaml 3/3\ngamma c.score.yaml 2/2", w.apps())
}

// What was released anew together and failed again goes back to what was there before the first time, until it is resumed.
func TestATryThatFailsAgainGoesBackAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	unblock := w.block("alpha", "alpha.service.yaml")
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:2") + port, "b.score.yaml": suite("beta", "b:2")})
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:3") + port})
	w.equal("a:1 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
	unblock()
	w.resume("alpha")
	w.equal("a:3 b:2", w.deployed("alpha")+" "+w.deployed("beta"))
	if _, err := w.Rollback(t.Context(), "production", "beta", 0, "", "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("a:3 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
}

// A first deployment that is taken back leaves its database, which goes when somebody says so.
func TestAFirstDeploymentThatIsTakenBackLeavesItsData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := func() string {
		found, err := filepath.Glob(filepath.Join(w.data, "out", "delta", "postgres-delta-*.statefulset.apps.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(len(found))
	}
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1")})
	w.block("alpha", "alpha.service.yaml")
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:2") + port, "d.score.yaml": suite("delta", "d:1") + database})
	w.equal("alpha a.score.yaml 3/3 held\ndelta d.score.yaml 2/2 waiting", w.apps())
	w.equal(", databases: 1", w.deployed("delta")+", databases: "+data())
	w.push(map[string]string{"d.score.yaml": ""})
	w.equal("alpha a.score.yaml 3/3 held\ndelta d.score.yaml 2/2 waiting", w.apps())
	w.code(w.app("delta").WaitingFor, fault.DeletesStateful)
	if err := w.Confirm(t.Context(), w.app("delta").Waiting, "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("alpha a.score.yaml 3/3 held", w.apps())
	w.equal("0", data())
}

// One that cannot be deployed keeps all that are deployed with it from being touched, and no other.
func TestNoneIsTouchedWhileOneCannotBeDeployed(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]string{
		"a mistake":                    strings.Replace(suite("beta", "b:2"), "image:", "imagine:", 1),
		"one that was there, no YAML":  "metadata: {name: beta",
		"another member of its file":   suite("beta", "b:2") + "---\nmetadata: {}\n",
		"a resource that nobody gives": suite("beta", "b:2") + "resources: {x: {type: nonsense}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1"), "c.score.yaml": file("gamma", "c:1")})
			commit := w.push(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": broken, "c.score.yaml": file("gamma", "c:2"), "d.score.yaml": suite("delta", "d:2")})
			w.equal("a:1 b:1 c:2 ", w.deployed("alpha")+" "+w.deployed("beta")+" "+w.deployed("gamma")+" "+w.deployed("delta"))
			w.equal("alpha a.score.yaml 1/1 waiting\nbeta b.score.yaml 1/1 faulty\ndelta d.score.yaml 0/0 waiting\ngamma c.score.yaml 2/2", w.apps())
			if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 invalid, 2 kept back, 1 deployed: b.score.yaml:") {
				t.Error(said)
			}
			w.push(map[string]string{"b.score.yaml": suite("beta", "b:2")})
			w.equal("a:2 b:2 d:2", w.deployed("alpha")+" "+w.deployed("beta")+" "+w.deployed("delta"))
		})
	}
}

// The first of them can be the one with a mistake: nothing of it is known but its file.
func TestANewFileWithAMistakeKeepsTheOthersBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": strings.Replace(suite("beta", "b:1"), "image:", "imagine:", 1)})
	w.equal("alpha a.score.yaml 0/0 waiting", w.apps())
	w.push(map[string]string{"b.score.yaml": ""})
	w.equal("alpha a.score.yaml 1/1", w.apps())
}

func TestOneThatIsOnHoldKeepsTheOthersBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	if err := w.Hold(t.Context(), "production", "beta", "stocktaking", "dana"); err != nil {
		t.Fatal(err)
	}
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:2")})
	w.equal("a:2 b:1", w.deployed("alpha")+" "+w.deployed("beta")) // what does not change keeps nobody back
	commit := w.push(map[string]string{"a.score.yaml": suite("alpha", "a:3"), "b.score.yaml": suite("beta", "b:3")})
	w.equal("a:2 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
	w.equal("success: 1 on hold, 1 kept back: alpha: beta, with which it is deployed, is on hold: stocktaking", w.said(commit))
	w.resume("beta")
	w.equal("a:3 b:3", w.deployed("alpha")+" "+w.deployed("beta"))
	w.equal("success: 2 deployed", w.said(commit))
}

func TestOneThatWaitsForAConfirmationKeepsTheOthersBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1") + database})
	commit := w.push(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.equal("a:1 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
	w.equal("pending: 1 waiting, 1 kept back: alpha: beta, with which it is deployed, waits for a confirmation: the plan deletes data of beta", w.said(commit))
	if err := w.Confirm(t.Context(), w.app("beta").Waiting, "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("a:2 b:2", w.deployed("alpha")+" "+w.deployed("beta"))
}

// asking has the deployments of beta ask, and no others.
func (w *world) asking() {
	w.path(`
  - {id: ask, when: application == "beta", approval: {}}
  - {id: release, needs: [ask], uses: release}
`)
}

// askingAfterwards has the deployments of alpha ask when they are there, and no others.
func (w *world) askingAfterwards() {
	w.path(`
  - {id: release, uses: release}
  - {id: ask, needs: [release], when: application == "alpha", approval: {}}
`)
}

// newest returns the newest run of an application.
func (w *world) newest(name string) apply.Run {
	w.Helper()
	list, err := w.Runs.Runs(w.Context(), w.Pool, apply.RunFilter{Name: name}, 1)
	if err != nil || len(list) == 0 {
		w.Fatal(list, err)
	}
	return list[0]
}

// cancel ends the newest run of an application as a person does.
func (w *world) cancel(name string) {
	w.Helper()
	job, err := w.Runs.JobOf(w.Context(), w.queue, w.newest(name))
	if err == nil {
		err = w.queue.Cancel(w.Context(), job, "enough")
	}
	if err != nil {
		w.Fatal(err)
	}
}

// offered pushes what alpha and beta shall be and waits until beta asks and alpha waits for it.
func (w *world) offered(files map[string]string) string {
	w.Helper()
	commit := w.send(files)
	w.until("beta to ask, and alpha to wait", func() bool {
		return w.rows(`SELECT DISTINCT ON (r.application) r.name || ' ' || s.name || ' ' || s.state || ' ' || s.detail FROM runs r JOIN steps s ON s.run = r.id
WHERE r.commit = $1 AND s.state = 'parked' ORDER BY r.application, r.id DESC`, commit) == "alpha release/meet parked waits for beta\nbeta ask parked "
	})
	return commit
}

// None is touched before people have agreed to all.
func TestAnApprovalOfOneIsForAllThatAreDeployedTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	w.asking()
	commit := w.offered(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.equal("a:1 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
	w.until("that to be said", func() bool { return strings.HasPrefix(w.said(commit), "pending: 1 asking, 1 deploying: beta: ask: ") })
	w.approve("beta")
	w.quiet()
	w.equal("a:2 b:2", w.deployed("alpha")+" "+w.deployed("beta"))
	w.equal("success: 2 deployed", w.said(commit))

	commit = w.offered(map[string]string{"a.score.yaml": suite("alpha", "a:3"), "b.score.yaml": suite("beta", "b:3")})
	if err := w.Runner.Decide(t.Context(), w.newest("beta").ID, apply.Approval{Who: "ann"}); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("a:2 b:2", w.deployed("alpha")+" "+w.deployed("beta"))
	if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 failed, 1 taken back: beta: ") {
		t.Error(said)
	}
	w.equal("0", w.rows(`SELECT sum(writes)::text FROM runs WHERE commit = $1`, commit))
}

func (w *world) approve(name string) {
	w.Helper()
	if err := w.Runner.Decide(w.Context(), w.newest(name).ID, apply.Approval{Who: "ann", Approved: true}); err != nil {
		w.Fatal(err)
	}
}

func TestOneThatIsCancelledTakesTheOthersBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	w.asking()
	commit := w.offered(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.cancel("beta")
	w.quiet()
	w.equal("a:1 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
	w.equal("alpha a.score.yaml 3/3 waiting\nbeta b.score.yaml 3/3 held", w.apps())
	w.equal("success: 1 taken back, 1 cancelled", w.said(commit))
}

// A person who rolls one of them back while they wait means all.
func TestOneThatIsRolledBackMeanwhileTakesTheOthersBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	w.asking()
	w.offered(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.back("beta", 1)
	w.equal("a:1 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
	w.equal("alpha a.score.yaml 3/3 waiting\nbeta b.score.yaml 3/3 held", w.apps())
}

// A commit that changes one of them while they wait comes into the same deployment: it succeeds or fails as one.
func TestANewerCommitOfOneJoinsTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1"), "c.score.yaml": suite("gamma", "c:1")})
	w.asking()
	w.offered(map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")})
	w.send(map[string]string{"c.score.yaml": suite("gamma", "c:3")})
	w.until("gamma to wait, too", func() bool {
		return w.rows(`SELECT detail FROM steps WHERE run = $1 AND state = 'parked'`, w.newest("gamma").ID) == "waits for beta"
	})
	w.offered(map[string]string{"a.score.yaml": suite("alpha", "a:4"), "b.score.yaml": suite("beta", "b:4")})
	w.block("gamma", "gamma.deployment.apps.yaml")
	w.approve("beta")
	w.quiet()
	w.equal("a:1 b:1", w.deployed("alpha")+" "+w.deployed("beta"))
}

func TestAPullRequestSaysWhatIsKeptBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a.score.yaml": suite("alpha", "a:1"), "b.score.yaml": suite("beta", "b:1")})
	if err := w.Hold(t.Context(), "production", "beta", "stocktaking", "dana"); err != nil {
		t.Fatal(err)
	}
	text := w.comment(w.pull("change", false, map[string]string{"a.score.yaml": suite("alpha", "a:2"), "b.score.yaml": suite("beta", "b:2")}))
	if !strings.Contains(text, "`alpha` in **production** is deployed as soon as others are: beta, with which it is deployed, is on hold: stocktaking, by dana.") {
		t.Error(text)
	}
}
