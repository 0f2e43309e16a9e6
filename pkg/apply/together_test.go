package apply

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What succeeded in a deployment together with others, of which one failed, was never good: its rollback may not have come to
// its end yet.
func TestWhatSucceededBesideAFailureIsNothingToGoBackTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.app("shop"), w.app("cart")
	put := func(application, generation int64, state State, atomic string) {
		t.Helper()
		_, err := w.pool.Exec(t.Context(), `INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit, atomic)
VALUES ($1, 'production', 'x', 'shop/app', $2, 'deploy', $3, 'p', 'c', $4)`, application, generation, state, atomic)
		if err != nil {
			t.Fatal(err)
		}
	}
	put(a.ID, 1, Succeeded, "")
	put(a.ID, 2, Succeeded, "suite 10")
	put(b.ID, 1, Failed, "suite 10")
	put(a.ID, 3, Succeeded, "suite 11")
	put(b.ID, 2, Failed, "suite 11")
	put(b.ID, 3, Succeeded, "suite 11") // a newer commit of it came into the same deployment
	put(a.ID, 4, Running, "suite 12")
	got, err := w.runner.Runs.Succeeded(t.Context(), w.pool, a.ID)
	slices.Sort(got)
	if diff := cmp.Diff([]int64{1, 3}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	// What is under way goes on, unless one of it failed.
	together := func(want, value string) {
		t.Helper()
		if got, err := w.runner.Runs.Together(t.Context(), w.pool, "shop/app", "production", value, 20); got != want || err != nil {
			t.Errorf("%q is %q, %v", value, got, err)
		}
	}
	together("suite 12", "suite")
	together("suite 12 20", "suite 12")
	put(b.ID, 4, Cancelled, "suite 12")
	together("suite 20", "suite")
}
