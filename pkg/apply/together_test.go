package apply

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// put stores a run of a deployment together with others, whose annotation says suite.
func (w *world) put(application, generation int64, kind Kind, state State, together int64) Run {
	w.Helper()
	var id int64
	err := w.pool.QueryRow(w.Context(), `INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit, atomic, together)
VALUES ($1, 'production', 'x', 'shop/app', $2, $3, $4, 'p', 'c', 'suite', $5) RETURNING id`, application, generation, kind, state, together).Scan(&id)
	if err != nil {
		w.Fatal(err)
	}
	return w.run(id)
}

func (w *world) succeeded(application int64, want ...int64) {
	w.Helper()
	got, err := w.runner.Runs.Succeeded(w.Context(), w.pool, application)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		w.Error(diff, err)
	}
}

// What succeeded in a deployment together with others, of which one failed, was never good: its rollback may not have come to
// its end yet.
func TestWhatSucceededBesideAFailureIsNothingToGoBackTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.app("shop"), w.app("cart")
	w.put(a.ID, 1, Deploy, Succeeded, 0)
	w.put(a.ID, 2, Deploy, Succeeded, 10)
	w.put(b.ID, 1, Deploy, Failed, 10)
	w.put(b.ID, 2, Rollback, Succeeded, 0)
	w.put(a.ID, 3, Deploy, Succeeded, 11)
	w.put(b.ID, 3, Deploy, Failed, 11)
	w.put(b.ID, 4, Deploy, Succeeded, 11) // a newer commit of it came into the same deployment
	w.put(a.ID, 4, Deploy, Succeeded, 12)
	w.put(b.ID, 5, Deploy, Superseded, 12)
	w.put(b.ID, 6, Rollback, Succeeded, 0) // a person took it back
	w.succeeded(a.ID, 1, 3)
}

// What is under way goes on, unless one of it failed, or all of it has made way.
func TestANewerCommitJoinsWhatIsUnderWayAndMayBeDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.app("shop"), w.app("cart")
	under := func(environment, value string) int64 {
		t.Helper()
		got, err := w.runner.Runs.JoinOrBegin(t.Context(), w.pool, "shop/app", environment, value)
		if err != nil {
			t.Error(err)
		}
		return got
	}
	if _, err := w.pool.Exec(t.Context(), `SELECT setval('together', 100)`); err != nil {
		t.Fatal(err)
	}
	w.put(a.ID, 1, Deploy, Succeeded, 11)
	w.put(a.ID, 2, Deploy, Running, 12)
	if got := under("production", "suite"); got != 12 {
		t.Errorf("joined %d", got)
	}
	if one, two := under("staging", "suite"), under("production", "suite 12"); one < 100 || two <= one {
		t.Errorf("joined %d and %d", one, two)
	}
	w.put(b.ID, 1, Deploy, Cancelled, 12)
	if got := under("production", "suite"); got < 100 {
		t.Errorf("joined %d, of which one was cancelled", got)
	}
	w.put(b.ID, 2, Deploy, Running, 13)
	w.put(b.ID, 3, Deploy, Queued, 0)
	if got := under("production", "suite"); got < 100 {
		t.Errorf("joined %d, of which nothing is left", got)
	}
}

// One that failed when a commit had taken it out of the deployment is not waited for, and spoils nothing.
func TestOneThatFailsAfterItHasLeftSpoilsNothing(t *testing.T) {
	t.Parallel()
	for _, state := range []State{Running, Failed, Cancelled, Superseded} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a, b := w.app("shop"), w.app("cart")
			w.put(a.ID, 1, Deploy, state, 1)
			w.put(a.ID, 2, Deploy, Failed, 0)
			w.put(a.ID, 3, Rollback, Succeeded, 0)
			run := w.put(b.ID, 1, Deploy, Running, 1)
			r, err := (&execution{Runner: w.runner, run: run}).meet(t.Context(), "")
			if r.park != nil || err != nil {
				t.Errorf("%+v %v", r, err)
			}
			if _, err := w.pool.Exec(t.Context(), `UPDATE runs SET state = 'succeeded' WHERE id = $1`, run.ID); err != nil {
				t.Fatal(err)
			}
			w.succeeded(b.ID, 1)
		})
	}
}
