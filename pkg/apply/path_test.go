package apply

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
)

// along makes the run of a release follow golden paths; the first is the one of the environment.
func (w *world) along(a planner.Application, r *planner.Release, texts ...string) Run {
	w.Helper()
	paths := Paths{Texts: map[string]string{}}
	for _, text := range texts {
		name, rest, _ := strings.Cut(strings.TrimPrefix(text, "\n"), "\n")
		if paths.Name == "" {
			paths.Name = name
		}
		paths.Texts[name] = rest
	}
	if _, faults := platform.LoadPaths(paths.Texts); faults.Err() != nil {
		w.Fatal(faults)
	}
	w.paths = &paths
	defer func() { w.paths = nil }()
	return w.schedule(a, r)
}

// states are the steps of a run as "NAME STATE".
func (w *world) states(run Run) (list []string) {
	w.Helper()
	steps, err := w.runner.Runs.Steps(w.Context(), w.pool, run.ID)
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range steps {
		list = append(list, fmt.Sprintf("%s %s", s.Name, s.State))
	}
	return list
}

func TestARunFollowsItsGoldenPath(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(`
main
steps:
  - {id: never, when: plan.delete > 100, http: {url: "%[1]s/never"}}
  - {id: before, needs: [never], http: {url: "%[1]s/before/${application}", body: {by: "${environment}"}, method: POST}, outputs: {n: {type: integer, value: response.body.n}}}
  - {id: release, needs: [before], uses: release}
  - {id: look, needs: [release], uses: smoke, with: {sites: [eu, us], base: "${steps.before.n + 1}"}}
  - {id: tell, needs: [look], http: {url: "%[1]s/tell?sites=${steps.look.seen.join('-')}&writes=${steps.release.writes}"}}
`, o.URL), fmt.Sprintf(`
smoke
params: {sites: {type: array}, base: {type: integer}}
steps:
  - id: ask
    for_each: params.sites
    http: {url: "%[1]s/site/${each.value}?n=${each.key + params.base}", keep: true}
    outputs: {path: {type: string, value: response.body.path}}
outputs: {seen: {type: array, value: steps.ask.path}}
`, o.URL))
	w.work()
	if run = w.ended(run); run.State != Succeeded || run.Writes != 1 {
		t.Fatalf("the run is %+v", run)
	}
	got := o.Asked()
	slices.Sort(got[1:3]) // side by side
	want := []string{"POST /before/shop", "GET /site/eu?n=2", "GET /site/us?n=3", "GET /tell?sites=%2Fsite%2Feu-%2Fsite%2Fus&writes=1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantStates := []string{
		"never skipped", "before succeeded", "release succeeded", "look succeeded", "tell succeeded",
		"release/deliver succeeded", "release/retire succeeded", "look/ask succeeded", "look/ask[0] succeeded", "look/ask[1] succeeded",
	}
	if diff := cmp.Diff(wantStates, w.states(run)); diff != "" {
		t.Error(diff)
	}
	left, err := w.runner.Runs.Artefacts(t.Context(), w.pool, run.ID)
	if err != nil || len(left) != 3 {
		t.Errorf("artefacts %+v, %v", left, err)
	}
	_, content, err := w.runner.Runs.Artefact(t.Context(), w.pool, run.ID, "look/ask[1]", "do.json")
	if err != nil || !strings.Contains(string(content), "/site/us") {
		t.Errorf("artefact %s, %v", content, err)
	}
}

func TestARequestIsTriedAgainWithTheSameKeyAndGivenUpByItsAnswer(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	path := fmt.Sprintf(`
main
steps:
  - {id: ask, retry: {attempts: 3, wait: 10ms, limit: 20ms}, http: {url: "%s/ask", expect: response.status == 200}}
  - {id: release, needs: [ask], uses: release}
`, o.URL)
	o.On(func(_ *http.Request, n int) int { return map[int]int{1: 503, 2: 202}[n] })
	a := w.app("shop")
	run := w.along(a, w.build("shop", image("shop:1")), path)
	w.work()
	if run = w.ended(run); run.State != Succeeded {
		t.Fatalf("the run is %+v", run)
	}
	keys := o.Keys("GET /ask")
	if len(keys) != 3 || keys[0] == "" || keys[0] != keys[1] || keys[1] != keys[2] {
		t.Errorf("keys %v", keys)
	}
	steps, _ := w.runner.Runs.Steps(t.Context(), w.pool, run.ID)
	if f := steps[0].Failures; len(f) != 2 || f[0].Code != string(fault.RequestFailed) || f[1].Attempt != 2 {
		t.Errorf("failures %+v", f)
	}
	o.On(func(*http.Request, int) int { return 404 })
	if run = w.ended(w.along(a, w.build("shop", image("shop:2")), path)); run.State != Failed || run.Fault.Code != fault.RequestRefused {
		t.Errorf("the run is %s: %v", run.State, run.Fault)
	}
	if got := len(o.Keys("GET /ask")); got != 4 || o.Keys("GET /ask")[3] == keys[0] {
		t.Errorf("a refused request was sent %d times", got-3)
	}
	if diff := cmp.Diff([]string{"ask failed", "release cancelled"}, w.states(run)); diff != "" {
		t.Error(diff)
	}
}

func TestAnApprovalHoldsNoWorkerAndTakesThoseWhoAreAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := `
main
steps:
  - {id: ask, approval: {from: [ann, bob, eve], count: 2, text: "Deploy ${application} to ${environment}?"}}
  - {id: release, needs: [ask], uses: release}
`
	a := w.app("shop")
	run := w.along(a, w.build("shop", image("shop:1")), path)
	w.work()
	waits := func(text string) {
		t.Helper()
		w.until(text, func() bool { return strings.Contains(w.run(run.ID).Waits, text) })
	}
	waits("ask: 0 of 2 approvals by ann, bob, eve until ")
	if !strings.HasSuffix(w.run(run.ID).Waits, "Deploy shop to production?") {
		t.Errorf("it waits for %q", w.run(run.ID).Waits)
	}
	running, _ := w.queue.List(t.Context(), queue.Filter{States: []queue.State{queue.Running}})
	w.until("no worker to be held", func() bool {
		running, _ = w.queue.List(t.Context(), queue.Filter{States: []queue.State{queue.Running}})
		return len(running) == 0
	})
	say := func(step, who string, yes bool) error {
		return w.runner.Decide(t.Context(), run.ID, Approval{Step: step, Who: who, Approved: yes, Reason: "so be it"})
	}
	for what, want := range map[string]fault.Code{"mallory": fault.ApprovalNotYours} {
		if f, ok := fault.As(say("ask", what, true)); !ok || f.Code != want {
			t.Errorf("%s: %v", what, f)
		}
	}
	if f, ok := fault.As(say("release", "ann", true)); !ok || f.Code != fault.ApprovalUnknown {
		t.Errorf("a step that does not ask: %v", f)
	}
	for _, who := range []string{"ann", "ann"} { // twice is once
		if err := say("", who, true); err != nil {
			t.Fatal(err)
		}
	}
	waits("1 of 2 approvals")
	came, goOn := make(chan bool), make(chan bool)
	w.target.on(func(context.Context, Delivery) error { came <- true; <-goOn; return nil })
	if err := say("ask", "bob", true); err != nil {
		t.Fatal(err)
	}
	<-came
	w.until("nothing to be asked any more", func() bool { return w.run(run.ID).Waits == "" })
	w.target.on(nil)
	goOn <- true
	if ended := w.ended(run); ended.State != Succeeded || ended.Waits != "" {
		t.Errorf("the run is %+v", ended)
	}
	run = w.along(a, w.build("shop", image("shop:2")), path)
	waits("0 of 2")
	if err := say("ask", "eve", false); err != nil {
		t.Fatal(err)
	}
	// What is decided stays so, whether the run has looked or ended by now.
	if f, ok := fault.As(say("ask", "eve", true)); !ok || f.Code != fault.ApprovalUnknown && f.Code != fault.JobFinished {
		t.Errorf("after a rejection: %v", f)
	}
	if ended := w.ended(run); ended.State != Failed || ended.Fault.Code != fault.ApprovalDenied || !strings.Contains(ended.Fault.Message, "eve rejected step ask: so be it") {
		t.Errorf("the run is %s: %v", ended.State, ended.Fault)
	}
	// A newer release does not wait for the answer to an older one.
	run = w.along(a, w.build("shop", image("shop:3")), path)
	waits("0 of 2")
	newer := w.schedule(a, w.build("shop", image("shop:4")))
	if ended := w.ended(newer); ended.State != Succeeded || w.run(run.ID).State != Superseded {
		t.Errorf("the newer run is %s, the one that waited %s", ended.State, w.run(run.ID).State)
	}
	if diff := cmp.Diff([]string{"ask cancelled", "release cancelled"}, w.states(run)); diff != "" {
		t.Error(diff)
	}
}

func TestAnApprovalEndsWithItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), "main\nsteps: [{id: ask, approval: {within: 1m}}, {id: release, needs: [ask], uses: release}]")
	w.work()
	w.until("it to ask", func() bool { return w.run(run.ID).Waits != "" })
	// An hour passes.
	if _, err := w.pool.Exec(t.Context(), `UPDATE steps SET asked_at = asked_at - interval '1 hour' WHERE run = $1`, run.ID); err != nil {
		t.Fatal(err)
	}
	w.tx(func(tx pgx.Tx) error {
		_, err := w.queue.Hasten(t.Context(), tx, JobKind, jobKey(run.Application))
		return err
	})
	if ended := w.ended(run); ended.State != Failed || ended.Fault.Code != fault.ApprovalExpired {
		t.Errorf("the run is %s: %v", ended.State, ended.Fault)
	}
}

// Nobody looks at a run while it is paused: an approval that comes after its time does not count all the same.
func TestAnApprovalThatComesLateDoesNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), "main\nsteps: [{id: ask, approval: {within: 1m}}, {id: release, needs: [ask], uses: release}]")
	w.work()
	w.until("it to ask", func() bool { return w.run(run.ID).Waits != "" })
	if err := w.runner.Pause(t.Context(), run.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	w.until("it to be paused", func() bool { return w.run(run.ID).Waits == "paused by ann" })
	if _, err := w.pool.Exec(t.Context(), `UPDATE steps SET asked_at = asked_at - interval '1 hour' WHERE run = $1`, run.ID); err != nil {
		t.Fatal(err)
	}
	for _, yes := range []bool{true, false} {
		err := w.runner.Decide(t.Context(), run.ID, Approval{Who: "ann", Approved: yes})
		if f, ok := fault.As(err); !ok || f.Code != fault.ApprovalExpired || !strings.HasPrefix(f.Message, fmt.Sprintf("step ask of run %d asked until ", run.ID)) {
			t.Error(err)
		}
	}
	if err := w.runner.Resume(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if ended := w.ended(run); ended.State != Failed || ended.Fault.Code != fault.ApprovalExpired {
		t.Errorf("the run is %s: %v", ended.State, ended.Fault)
	}
}

func TestAPausedRunBeginsNothingUntilItIsResumed(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	came, open := o.Hold("GET /one")
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(`
main
steps:
  - {id: one, http: {url: "%[1]s/one"}}
  - {id: two, needs: [one], http: {url: "%[1]s/two"}}
  - {id: release, needs: [two], uses: release}
`, o.URL))
	w.work()
	came()
	if err := w.runner.Pause(t.Context(), run.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	open()
	w.until("it to be paused", func() bool { return w.run(run.ID).Waits == "paused by ann" })
	if diff := cmp.Diff([]string{"one succeeded", "two waiting", "release waiting"}, w.states(run)); diff != "" {
		t.Error(diff)
	}
	if err := w.runner.Resume(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	// To be looked at again is no further attempt.
	if ended := w.ended(run); ended.State != Succeeded || ended.PausedBy != nil || ended.Attempt != 1 {
		t.Errorf("the run is %+v", ended)
	}
	for name, act := range map[string]func() error{
		"pause":  func() error { return w.runner.Pause(t.Context(), run.ID, "ann") },
		"resume": func() error { return w.runner.Resume(t.Context(), run.ID) },
	} {
		if f, ok := fault.As(act()); !ok || f.Code != fault.JobFinished {
			t.Errorf("%s of an ended run: %v", name, f)
		}
	}
}

const undoable = `
main
steps:
  - {id: first, http: {method: POST, url: "%[1]s/first"}, outputs: {n: {type: integer, value: response.body.n}}, compensate: {http: {method: DELETE, url: "%[1]s/first/${steps.first.n}"}}}
  - id: each
    needs: [first]
    for_each: "['a', 'b']"
    concurrency: 1
    http: {method: POST, url: "%[1]s/each/${each.value}"}
    compensate: {http: {method: DELETE, url: "%[1]s/each/${each.value}"}}
  - {id: release, needs: [each], uses: release}
  - {id: last, needs: [release], http: {url: "%[1]s/last"}, compensate: {http: {url: "%[1]s/never"}}}
`

func TestAFailedRunIsUndoneBackwardsBeforeTheRollback(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	a := w.app("shop")
	w.work()
	w.deployed(a, w.build("shop", image("shop:1")))
	tries := 0
	o.On(func(r *http.Request, _ int) int {
		if r.Method == http.MethodDelete {
			if got := fmt.Sprint(w.dumpTarget()); !strings.Contains(got, "shop:2") {
				t.Errorf("%s after the rollback", r.URL.Path)
			}
		}
		if r.URL.Path == "/each/a" && r.Method == http.MethodDelete {
			if tries++; tries == 1 {
				return 503
			}
		}
		if r.URL.Path == "/last" {
			return 400
		}
		return 0
	})
	run := w.ended(w.along(a, w.build("shop", image("shop:2")), fmt.Sprintf(undoable, o.URL)))
	if run.State != Failed {
		t.Fatalf("the run is %+v", run)
	}
	w.until("the rollback", func() bool {
		back, err := w.runner.Runs.RunOf(t.Context(), w.pool, a.ID, run.Generation+1)
		return err == nil && back.State == Succeeded
	})
	want := []string{
		"POST /first", "POST /each/a", "POST /each/b", "GET /last",
		"DELETE /each/b", "DELETE /each/a", "DELETE /each/a", "DELETE /first/1",
	}
	if diff := cmp.Diff(want, o.Asked()); diff != "" {
		t.Error(diff)
	}
	if do, undo := o.Keys("POST /each/a")[0], o.Keys("DELETE /each/a"); do == undo[0] || undo[0] != undo[1] {
		t.Errorf("keys %s, %v", do, undo)
	}
	steps, _ := w.runner.Runs.Steps(t.Context(), w.pool, run.ID)
	for _, s := range steps {
		if done := s.Name == "first" || strings.HasPrefix(s.Name, "each["); done != (s.UndoneAt != nil) || s.UndoFault != nil {
			t.Errorf("%s: undone %v, %v", s.Name, s.UndoneAt, s.UndoFault)
		}
	}
}

func TestARunThatDoesNotSucceedIsUndoneBeforeTheNextOneBegins(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	a := w.app("shop")
	path := fmt.Sprintf(`
main
steps:
  - {id: first, http: {method: POST, url: "%[1]s/${generation}"}, compensate: {http: {method: DELETE, url: "%[1]s/${generation}"}}}
  - {id: ask, needs: [first], when: generation < 4, approval: {}}
  - {id: release, needs: [ask], uses: release}
`, o.URL)
	w.work()
	run := w.along(a, w.build("shop", image("shop:1")), path)
	w.until("it to ask", func() bool { return w.run(run.ID).Waits != "" })
	w.cancel(run)
	w.until("it to be undone", func() bool { return slices.Contains(o.Asked(), "DELETE /1") })
	if got := w.run(run.ID).State; got != Cancelled {
		t.Errorf("the run is %s", got)
	}
	// One that waits for people, replaced by one that waits, by one that succeeds, and by one that follows no path.
	for n := 2; n <= 4; n++ {
		run = w.along(a, w.build("shop", image(fmt.Sprint("shop:", n))), path)
		w.until("it to ask", func() bool { return n == 4 || w.run(run.ID).Waits != "" })
	}
	if run = w.ended(run); run.State != Succeeded {
		t.Errorf("the run is %s", run.State)
	}
	w.tx(func(tx pgx.Tx) error { return scheduleUndo(t.Context(), tx, w.queue, run, jobKey(a.ID)) }) // as if something newer had come
	w.ended(w.schedule(a, w.build("shop", image("shop:5"))))
	want := []string{"POST /1", "DELETE /1", "POST /2", "DELETE /2", "POST /3", "DELETE /3", "POST /4"}
	if diff := cmp.Diff(want, o.Asked()); diff != "" {
		t.Error(diff)
	}
}

func TestStepsRunSideBySideButNotMoreThanTheyMay(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	o.On(func(*http.Request, int) int { <-time.After(5 * time.Millisecond); return 0 })
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(`
main
steps:
  - {id: many, for_each: "[1,2,3,4,5,6,7,8,9,10,11,12]", concurrency: 3, http: {url: "%[1]s/${each.value}"}}
  - {id: release, needs: [many], uses: release}
`, o.URL))
	w.work()
	if run = w.ended(run); run.State != Succeeded {
		t.Fatalf("the run is %+v", run)
	}
	if o.Most() < 2 || o.Most() > 3 || len(o.Asked()) != 12 {
		t.Errorf("%d requests, %d at once", len(o.Asked()), o.Most())
	}
}

func TestAStepThatHangsFailsByItsTimeout(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	o.On(func(r *http.Request, _ int) int { <-r.Context().Done(); return 0 })
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(`
main
steps:
  - {id: slow, timeout: 1s, retry: {attempts: 1}, http: {url: "%[1]s/slow"}}
  - {id: release, needs: [slow], uses: release}
`, o.URL))
	w.work()
	if run = w.ended(run); run.State != Failed || run.Fault.Code != fault.StepTimedOut {
		t.Errorf("the run is %s: %v", run.State, run.Fault)
	}
}

// A worker is gone between any two checkpoints; the next goes on, and each effect keeps its key.
func TestARunThatIsBrokenOffAnywhereGoesOn(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")+database), fmt.Sprintf(undoable, o.URL))
	token := int64(100)
	for turn := 0; ; turn++ {
		if turn > 200 {
			t.Fatal("it does not end")
		}
		token++
		begun, err := w.runner.begin(t.Context(), run.ID, token, 1)
		if err != nil {
			t.Fatal(err)
		}
		e := &execution{Runner: w.runner, run: begun}
		eng, err := e.prepare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// One step for each worker.
		next := eng.tree.graph.Next(e.now(), 1, func(*graph.Node) bool { return false })
		if len(next) == 0 {
			if err := eng.drive(t.Context()); err != nil {
				t.Fatal(err)
			}
			break
		}
		if err := eng.begin(t.Context(), eng.tree.nodes[next[0].Name]); err != nil {
			t.Fatal(err)
		}
		if len(eng.busy) > 0 {
			end := <-eng.ends
			delete(eng.busy, end.Name)
			if turn%2 == 0 { // every other worker dies before it wrote down what it did
				if err := eng.finish(t.Context(), end); err != nil {
					t.Fatal(err)
				}
			}
		}
		for group, state := eng.tree.graph.Done(); group != nil; group, state = eng.tree.graph.Done() {
			if err := eng.close(t.Context(), eng.tree.nodes[group.Name], state); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, what := range o.Asked() {
		if keys := o.Keys(what); len(slices.Compact(keys)) != 1 {
			t.Errorf("%s has several keys: %v", what, keys)
		}
	}
	for _, s := range w.states(run) {
		if !strings.HasSuffix(s, " succeeded") {
			t.Error(s)
		}
	}
}

func TestALogEndsAtItsLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.schedule(w.app("shop"), w.build("shop", image("shop:1")))
	e := w.take(run, 10)
	const lines = logLimit / lineLimit
	for range lines + 3 {
		e.log(t.Context(), "deliver", "%s", strings.Repeat("x", lineLimit-1))
	}
	e.log(t.Context(), "run", "no step's line")
	got, err := w.runner.Runs.Logs(t.Context(), w.pool, run.ID, 0)
	if err != nil || len(got) != lines+1 {
		t.Fatalf("%d lines, %v", len(got), err)
	}
	if last := got[lines-1].Message; last != "the log ends here: it has reached its limit" || got[lines].Message != "no step's line" {
		t.Errorf("the last lines are %.100q and %.100q", last, got[lines].Message)
	}
}

// What is cut says so at its end, and no character is cut in two.
func TestLinesAndArtefactsThatAreCutSayIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := w.schedule(w.app("shop"), w.build("shop", image("shop:1")))
	e := w.take(run, 10)
	e.log(t.Context(), "deliver", "x%s\x00", strings.Repeat("ä", lineLimit))
	e.log(t.Context(), "deliver", "a\x00b")
	lines, err := w.runner.Runs.Logs(t.Context(), w.pool, run.ID, 0)
	if err != nil || len(lines) != 2 || lines[1].Message != "ab" {
		t.Fatalf("the log is %.100v, %v", lines, err)
	}
	want := "x" + strings.Repeat("ä", lineLimit/2-1) + " … cut here: the line has 16386 bytes, of which 8191 are kept"
	if got := lines[0].Message; got != want {
		t.Errorf("the line ends with %q", got[max(0, len(got)-100):])
	}
	e.leave(t.Context(), "deliver", "long", "text/plain", []byte(strings.Repeat("x", artefactLimit+1)))
	e.leave(t.Context(), "deliver", "short", "text/plain", []byte(strings.Repeat("x", artefactLimit)))
	list, err := w.runner.Runs.Artefacts(t.Context(), w.pool, run.ID)
	if err != nil || len(list) != 2 || !list[0].Cut || list[1].Cut {
		t.Errorf("artefacts %+v, %v", list, err)
	}
	_, content, err := w.runner.Runs.Artefact(t.Context(), w.pool, run.ID, "deliver", "long")
	if err != nil || !strings.HasSuffix(string(content), "\n… cut here: it has 262145 bytes, of which 262144 are kept\n") {
		t.Errorf("it ends with %q, %v", content[max(0, len(content)-100):], err)
	}
}
