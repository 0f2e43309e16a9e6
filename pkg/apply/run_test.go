package apply

import (
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/planner"
)

var states = []State{Queued, Running, Succeeded, Failed, Superseded, Cancelled}

// The statements allow exactly the ways that transitions has.
func TestStatementsFollowTransitions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	for i, from := range states {
		for j, to := range states {
			var id int64
			err := w.pool.QueryRow(t.Context(), `INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit)
VALUES ($1, 'production', 'shop', 'shop/app', $2, 'deploy', $3, 'p', 'c') RETURNING id`, a.ID, i*10+j+1, from).Scan(&id)
			if err != nil {
				t.Fatal(err)
			}
			w.tx(func(tx pgx.Tx) (err error) {
				switch to {
				case Queued: // a run is made in this state and never comes back to it
				case Running:
					_, _ = w.runner.Runs.begin(t.Context(), tx, id, 1, 1)
				default:
					_, _, err = w.runner.Runs.end(t.Context(), tx, id, to, nil)
				}
				return err
			})
			moved := w.run(id).State == to && (from != to || from == Running)
			if allowed := slices.Contains(transitions[from], to); moved != allowed {
				t.Errorf("%s to %s: moved %t, allowed %t", from, to, moved, allowed)
			}
		}
	}
}

func TestFilesNeverLeaveTheirFolder(t *testing.T) {
	t.Parallel()
	safe := regexp.MustCompile(`^(shop|_shared)/[A-Za-z0-9_.-]+\.yaml$`)
	seen := map[string]string{}
	for _, name := range []string{"plain", "..", "../../etc/passwd", "a/b", `a\b`, "a:b", "system:role", "a_b", ".hidden", "", "x\x00y", "ä", "a..b", "a.b", "-", "a%2fb"} {
		for _, unit := range []planner.Unit{planner.UnitApplication, planner.UnitShared} {
			for _, version := range []string{"v1", "apps/v1", "../x/v1", "a/../b/v1"} {
				o := planner.Object{Unit: unit, APIVersion: version, Kind: "Kind/../X", Name: name}
				p := pathOf("shop", o)
				if !safe.MatchString(p) {
					t.Errorf("%q in %q goes to %q", name, version, p)
				}
				if other, twice := seen[p]; twice && other != o.Key()+string(unit) {
					t.Errorf("%s is the file of %q and of %q", p, other, o.Key())
				}
				seen[p] = o.Key() + string(unit)
			}
		}
	}
}

// Objects that differ in their namespace alone do not overwrite each other.
func TestEveryObjectHasItsOwnFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
- uri: template://test/twice
  type: twice
  outputs: |
    {}
  manifests: |
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: one}}
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: two}}
`)
	files, items, err := manifests(w.build("shop", image("shop:1")+"resources: {tt: {type: twice}}\n"), 1)
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for _, f := range files {
		paths[f.Path] = true
	}
	for _, i := range items {
		if !paths[i.Path] {
			t.Errorf("%s has no file", i.Path)
		}
	}
	if len(paths) != len(files) || len(files) != 3 {
		t.Errorf("%d files at %d paths", len(files), len(paths))
	}
}

func TestObsoleteGoesDependentsFirst(t *testing.T) {
	t.Parallel()
	of := func(application int64, kind, name string) item {
		return item{Key: "g/" + kind + "/" + name, Application: application, Path: "shop/" + name + "." + kind}
	}
	have := []item{of(1, "ConfigMap", "c"), of(1, "Deployment", "d"), of(1, "Ingress", "i"), of(1, "PersistentVolumeClaim", "p"), of(1, "Service", "s"),
		of(1, "Deployment", "kept"), of(1, "Secret", "shared"), of(2, "Secret", "shared")}
	want := []string{"shop/i.Ingress", "shop/d.Deployment", "shop/s.Service", "shop/c.ConfigMap", "shop/p.PersistentVolumeClaim"}
	if diff := cmp.Diff(want, obsolete(have, []item{of(1, "Deployment", "kept")}, 1)); diff != "" {
		t.Error(diff)
	}
}
