package apply

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply/graph"
)

// pairs are the ways of a table as "FROM TO", sorted.
func pairs[S ~string](transitions map[S][]S) (list []string) {
	for from, all := range transitions {
		for _, to := range all {
			list = append(list, fmt.Sprintf("%s %s", from, to))
		}
	}
	slices.Sort(list)
	return list
}

// cancel cancels the job of a run.
func (w *world) cancel(run Run) {
	w.Helper()
	job, err := w.runner.Runs.JobOf(w.Context(), w.queue, run)
	if err == nil {
		err = w.queue.Cancel(w.Context(), job, "enough")
	}
	if err != nil {
		w.Fatal(err)
	}
	w.ended(run)
}

// Whatever happens to runs, the database sees their rows and those of their steps go the ways that are drawn: no others, and
// each of them.
func TestRunsAndStepsGoTheWaysThatAreDrawn(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	runs, steps := testenv.Transitions(t, w.pool, "runs"), testenv.Transitions(t, w.pool, "steps")
	path := fmt.Sprintf(`
main
steps:
  - {id: never, when: "false", wait: 1s}
  - {id: first, needs: [never], retry: {attempts: 3, wait: 10ms, limit: 10ms}, http: {url: "%s/first"}}
  - {id: ask, needs: [first], approval: {}}
  - {id: release, needs: [ask], uses: release}
`, o.URL)
	a := w.app("shop")
	release := func(n int) Run { return w.along(a, w.build("shop", image(fmt.Sprint("shop:", n))), path) }
	asking := func(n int) Run {
		run := release(n)
		w.until("it to ask", func() bool { return w.run(run.ID).Waits != "" })
		return run
	}
	w.cancel(release(1))
	w.tx(func(tx pgx.Tx) error {
		_, _, err := w.runner.Runs.end(t.Context(), tx, release(2).ID, Failed, nil)
		return err
	})
	release(3) // superseded while it waits
	// A worker that is gone had begun the first step.
	taken := release(4)
	begun, err := w.runner.begin(t.Context(), taken.ID, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	eng, err := (&execution{Runner: w.runner, run: begun}).prepare(t.Context())
	if err == nil {
		err = eng.start(t.Context(), eng.tree.nodes["first"])
	}
	if err != nil {
		t.Fatal(err)
	}
	o.On(func(_ *http.Request, n int) int { return map[int]int{1: 503}[n] })
	w.work()
	w.until("it to ask", func() bool { return w.run(taken.ID).Waits != "" })
	if err := w.runner.Decide(t.Context(), taken.ID, Approval{Who: "ann", Approved: true}); err != nil {
		t.Fatal(err)
	}
	if got := w.ended(taken); got.State != Succeeded {
		t.Fatalf("the run is %+v", got)
	}
	w.cancel(asking(5))
	asking(6) // superseded while it asks
	came := make(chan bool, 1)
	o.On(func(r *http.Request, _ int) int { came <- true; <-r.Context().Done(); return 0 })
	release(7)
	<-came // superseded while its step is at work
	o.On(func(*http.Request, int) int { return 400 })
	w.ended(release(8))
	w.ended(w.along(a, w.build("shop", image("shop:9")), "main\nsteps: [{id: release, uses: release}, {id: sum, when: 1 / plan.delete > 0, wait: 1s}]"))
	if diff := cmp.Diff(pairs(Transitions()), runs()); diff != "" {
		t.Errorf("runs (- drawn, + seen): %s", diff)
	}
	if diff := cmp.Diff(pairs(graph.Transitions()), steps()); diff != "" {
		t.Errorf("steps (- drawn, + seen): %s", diff)
	}
}
