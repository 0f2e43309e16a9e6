package apply

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func pgxpoolNew(t *testing.T, c *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(t.Context(), c)
	if err == nil {
		t.Cleanup(pool.Close)
	}
	return pool, err
}

func TestLastUserTakesSharedObjectAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sharedProvisioner)
	w.work()
	const file, uses = "_shared/common.configmap.yaml", "resources: {all: {type: common, id: all}}\n"
	one, two := w.app("one"), w.app("two")
	w.deployed(one, w.build("one", image("a:1")+uses))
	w.deployed(two, w.build("two", image("a:1")+uses))
	w.deployed(one, w.build("one", image("a:1")))
	if !slices.Contains(w.target.paths(), file) {
		t.Error("the object went while somebody uses it")
	}
	w.deployed(two, nil)
	if slices.Contains(w.target.paths(), file) {
		t.Error("the object is left behind")
	}
}

func TestResourcesKnowTheirUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sharedProvisioner)
	w.work()
	state := func() []string {
		list, err := w.runner.Runs.Resources(t.Context(), w.pool, "production", "")
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range list {
			out = append(out, r.UID+" "+strings.Join(r.Users, ",")+" by "+r.DescribedBy)
		}
		return out
	}
	check := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, state()); diff != "" {
			t.Error(diff)
		}
	}
	const uses = "resources: {all: {type: common, id: all}}\n"
	one, two := w.app("one"), w.app("two")
	w.deployed(one, w.build("one", image("a:1")+uses))
	w.deployed(two, w.build("two", image("a:1")+uses))
	check("common.default#all one,two by one")
	w.deployed(one, w.build("one", image("a:1")))
	check("common.default#all two by two")
	w.deployed(two, nil)
	check()
	w.deployed(one, w.build("one", image("a:1")+uses))
	check("common.default#all one by one")
}

// What belongs to an application's old name goes when it gets a new one.
func TestRenamedApplicationLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.work()
	a := w.app("old")
	w.deployed(a, w.build("old", image("a:1")+database))
	w.deployed(a, w.build("new", image("a:1")+database))
	for _, p := range w.target.paths() {
		if !strings.HasPrefix(p, "new/") {
			t.Errorf("%s is left", p)
		}
	}
	list, err := w.runner.Runs.Resources(t.Context(), w.pool, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].UID != "postgres.default#new.db" {
		t.Errorf("the resources are %+v", list)
	}
	w.target.mu.Lock()
	defer w.target.mu.Unlock()
	former, err := w.target.seen[len(w.target.seen)-1].Former(t.Context())
	if diff := cmp.Diff([]string{"old"}, former); diff != "" || err != nil {
		t.Error(diff, err)
	}
}
