package planner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
)

// keeper makes an object with data and one without; NAME is the name of the first.
const keeper = `
- uri: template://test/keeper
  type: keeper
  stateful: true
  manifests: |
    - {apiVersion: example.org/v1, kind: Store, metadata: {name: NAME}, size: SIZE}
    - {apiVersion: v1, kind: Service, metadata: {name: ALIAS}}
`

// A new version of a provisioner can lose data although the Score file stays the same.
func TestObjectsWithDataThatTheirProvisionerGivesUpAreCounted(t *testing.T) {
	t.Parallel()
	build := func(name, size, alias string) *planner.Release {
		text := strings.NewReplacer("NAME", name, "SIZE", size, "ALIAS", alias).Replace(keeper)
		return newWorld(t, platform.Files{"keeper.provisioners.yaml": text}).must(workload("shop", "resources: {it: {type: keeper}}\n"))
	}
	from := build("one", "1", "one")
	for name, c := range map[string]struct {
		to   *planner.Release
		want []string
	}{
		"the same":       {build("one", "1", "one"), nil},
		"changed":        {build("one", "2", "one"), nil},
		"other Service":  {build("one", "1", "two"), nil},
		"another object": {build("two", "1", "one"), []string{"replace resources.it (data)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := planner.NewPlan("shop", "production", "p", planner.Base{Generation: 1, Release: from}, c.to)
			if diff := cmp.Diff(c.want, lines(plan.Changes)); diff != "" {
				t.Error(diff)
			}
			if plan.Summary.Stateful != len(c.want) {
				t.Errorf("the summary is %+v", plan.Summary)
			}
		})
	}
}

func TestWhatAFailedRunLeftIsPartOfThePlan(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	left := []planner.Left{
		{UID: "postgres.default#shop.db", Type: "postgres", Class: "default", Stateful: true},
		{UID: "dns.default#shop.host", Type: "dns", Class: "default"},
	}
	without, with := w.must(workload("shop", "")), w.must(workload("shop", "resources: {db: {type: postgres}}\n"))
	base := planner.Base{Generation: 1, Release: without, Left: left}
	back := planner.NewPlan("shop", "production", "p", base, without)
	if diff := cmp.Diff([]string{"delete resources.db (data)", "delete resources.host"}, lines(back.Changes)); diff != "" {
		t.Error(diff)
	}
	if back.Empty() || back.Summary.Stateful != 1 {
		t.Errorf("the plan is %+v", back.Summary)
	}
	if clean := planner.NewPlan("shop", "production", "p", planner.Base{Generation: 1, Release: without}, without); clean.ID == back.ID {
		t.Error("both plans have the id " + clean.ID)
	}
	on := planner.NewPlan("shop", "production", "p", base, with)
	if diff := cmp.Diff([]string{"create resources.db", "delete resources.host"}, lines(on.Changes)); diff != "" {
		t.Error(diff)
	}
}
