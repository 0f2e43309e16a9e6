package apply

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
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

// half makes deliveries with a content end when all is written, before anything is removed or noted.
func (w *world) half(content string) {
	w.target.on(func(_ context.Context, d Delivery) error {
		if !slices.ContainsFunc(d.Write, func(f File) bool { return strings.Contains(string(f.Content), content) }) {
			return nil
		}
		w.target.mu.Lock()
		defer w.target.mu.Unlock()
		for _, f := range d.Write {
			w.target.files[f.Path] = string(f.Content)
		}
		return fault.New(fault.TargetForeign, "no place for %s", d.Run.Name)
	})
}

// An object whose name does not depend on its workload's is the same one under both names, in another file.
const settingsProvisioner = `
- uri: template://test/settings
  type: settings
  outputs: |
    {}
  manifests: |
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {of: {{ .SourceWorkload }} }}
`

func TestHalfARenameLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]string{"the old name comes back": "old", "a third name follows": "third", "it is removed": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settingsProvisioner)
			w.work()
			const uses = "resources: {cfg: {type: settings}}\n"
			a := w.app("old")
			w.deployed(a, w.build("old", image("a:1")+uses))
			w.half("")
			if run := w.ended(w.schedule(a, w.build("new", image("a:2")+uses))); run.State != Failed {
				t.Fatalf("the run ended as %s", run.State)
			}
			w.idle()
			w.target.on(nil)
			var r *planner.Release
			if then != "" {
				r = w.build(then, image("a:3")+uses)
			}
			w.deployed(w.application(a.ID), r)
			for _, p := range w.target.paths() {
				if folder, _, _ := strings.Cut(p, "/"); folder != then {
					t.Errorf("%s is left", p)
				}
			}
			if left := w.dump("strays"); strings.Contains(left, "settings") {
				t.Error(left)
			}
		})
	}
}

// Each Score file of each evaluation asks.
func TestWhoHasObjectsIsReadByIndexes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.pool.Exec(t.Context(), `INSERT INTO inventories (environment, key, application, unit, path, digest, token)
SELECT 'production', '/Service//a' || n, n / 10, 'application', 'a' || n / 10 || '/a' || n || '.service.yaml', 'd', 1 FROM generate_series(1, 10000) n`); err != nil {
		t.Fatal(err)
	}
	if _, err := w.pool.Exec(t.Context(), `ANALYZE`); err != nil {
		t.Fatal(err)
	}
	rows, err := w.pool.Query(t.Context(), "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) "+sqlTaken, "production", 0, []string{"/Service//a70", "/Service//a71"}, []string{"/Service//a90"}, "a8")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan on inventories") || strings.Contains(text, "Rows Removed by Filter") {
		t.Error(text)
	}
}

// What holds data stays in both folders until an ordinary deployment, whose plan says that it goes, comes.
func TestDataOfHalfARenameStaysUntilItsRemovalIsPlanned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(settingsProvisioner, "  outputs:", "  stateful: true\n  outputs:", 1))
	w.work()
	const uses = "resources: {cfg: {type: settings}}\n"
	settings := func() (list []string) {
		for _, p := range w.target.paths() {
			if strings.HasSuffix(p, "/settings.configmap.yaml") {
				list = append(list, p)
			}
		}
		return list
	}
	a := w.app("old")
	w.deployed(a, w.build("old", image("a:1")+uses))
	w.half("a:2")
	w.ended(w.schedule(a, w.build("new", image("a:2")+uses)))
	w.idle()
	if diff := cmp.Diff([]string{"new/settings.configmap.yaml", "old/settings.configmap.yaml"}, settings()); diff != "" {
		t.Error("after the rollback", diff)
	}
	b := w.build("new", image("b:1"))
	taken, err := w.runner.Runs.Taken(t.Context(), w.pool, "production", 0, "new", b.Objects)
	if err != nil || len(taken) != 1 || taken[0].Application != a.ID {
		t.Errorf("others may have the name: %+v %v", taken, err)
	}
	w.deployed(w.application(a.ID), w.build("old", image("a:3")+uses))
	if diff := cmp.Diff([]string{"old/settings.configmap.yaml"}, settings()); diff != "" {
		t.Error("after the deployment", diff)
	}
	if taken, err = w.runner.Runs.Taken(t.Context(), w.pool, "production", 0, "new", b.Objects); err != nil || len(taken) != 0 {
		t.Errorf("the name is not free: %+v %v", taken, err)
	}
}
