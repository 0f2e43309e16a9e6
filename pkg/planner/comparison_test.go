package planner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/planner"
)

// The tests of this file are named after the rows of docs/comparison.md; the other rows are proven in pkg/planner/kubernetes,
// in TestTheSameInputGivesTheSameBytes and in TestRefusesAtThePlaceInTheScoreFile.

func TestServicePortGivesThePortThatTheServiceListensOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	release := w.must("apiVersion: score.dev/v1b1\nmetadata: {name: shop}\nservice: {ports: {web: {port: 80, targetPort: 8080}}}\ncontainers:\n  main:\n    image: a:1\n" +
		"    variables: {P: \"${resources.me.hostname}:${resources.me.port}\"}\nresources: {me: {type: service-port, params: {workload: shop, port: web}}}\n")
	if !strings.Contains(text(t, release), `"value":"shop:80"`) {
		t.Error("got another port")
	}
}

func TestABrokenWorkloadLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	release, faults := newWorld(t, nil).build(workload("shop", "    variables: {A: \"${resources.db.hots}\"}\nresources: {db: {type: postgres}}\n"))
	if release != nil || faults.Err() == nil {
		t.Errorf("got %v, %v", release, faults)
	}
}

func TestEverythingIsLabelledSoThatItCanBePruned(t *testing.T) {
	t.Parallel()
	for _, o := range newWorld(t, nil).must(richFile).Objects {
		if !strings.Contains(string(o.Body), `"app.kubernetes.io/managed-by":"reconciler"`) || !strings.Contains(string(o.Body), `"reconciler.dev/application":"shop"`) {
			t.Errorf("%s %s: %s", o.Kind, o.Name, o.Body)
		}
	}
}

func TestRemovedResourcesAndWorkloadsAreShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	from, to := w.must(workload("shop", "resources: {db: {type: postgres}}\n")), w.must(workload("shop", ""))
	plan := planner.NewPlan("shop", "production", "p", planner.Base{Generation: 1, Release: from}, to)
	var gone []string
	for _, o := range plan.Objects {
		if o.Action == planner.Delete {
			gone = append(gone, o.Kind)
		}
	}
	if diff := cmp.Diff([]string{"Secret", "Service", "StatefulSet"}, gone); diff != "" || plan.Summary.Stateful != 1 {
		t.Errorf("%s %+v", diff, plan.Summary)
	}
}

func TestClusterScopedObjectsGetNoNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"own.provisioners.yaml": `
- uri: template://own/space
  type: space
  manifests: |
    - {apiVersion: v1, kind: Namespace, metadata: {name: own}}
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: here}}
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: there, namespace: elsewhere}}
`})
	got := map[string]string{}
	for _, o := range w.must(workload("shop", "resources: {it: {type: space}}\n")).Objects {
		got[o.Name] = o.Namespace
	}
	if diff := cmp.Diff(map[string]string{"own": "", "here": "shops", "there": "elsewhere", "shop": "shops"}, got); diff != "" {
		t.Error(diff)
	}
}
