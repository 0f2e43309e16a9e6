package planner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/innominatus/reconciler/pkg/planner"
)

func TestBuiltInProvisionersGiveWhatTheyPromiseForNamesOfAnyLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, workload := range []string{"ab", "0digit", strings.Repeat("w", 63), strings.Repeat("w", 29) + "-" + strings.Repeat("v", 33)} {
		for _, p := range w.platform.Provisioners {
			if p.Type == "route" && workload == "0digit" || p.Type == "service-port" && workload == "0digit" {
				continue // such a workload has no Service
			}
			t.Run(p.Type+" of "+workload, func(t *testing.T) {
				t.Parallel()
				builtInGives(t, newWorld(t, nil), p.Type, workload, p.ExpectedOutputs)
			})
		}
	}
}

func builtInGives(t *testing.T, w *world, kind, name string, outputs []string) {
	t.Helper()
	file := "apiVersion: score.dev/v1b1\nmetadata:\n  name: " + name + "\ncontainers:\n  main:\n    image: a:1\n    variables:\n      A: b\n"
	params := ""
	switch kind {
	case "route":
		params = ", params: {host: \"*.shop.example\", path: /a b, port: web}"
	case "service-port":
		params = ", params: {workload: " + name + ", port: web}"
	}
	if kind != "volume" {
		for _, output := range outputs {
			file += fmt.Sprintf("      V_%s: \"x ${resources.it.%s}\"\n", output, output)
		}
	}
	if params != "" {
		file += "service: {ports: {web: {port: 80, targetPort: 8080}}}\n"
	}
	release := w.must(file + "resources: {it: {type: " + kind + params + "}}\n")
	names := map[string]bool{}
	for _, o := range release.Objects {
		tree, err := release.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if key := o.Key(); names[key] {
			t.Errorf("%s is there twice", key)
		}
		names[o.Key()] = true
		validObject(t, o, tree)
	}
	seen := text(t, release)
	for _, value := range release.SecretValues() {
		if strings.Contains(seen, value) {
			t.Errorf("the secret %s is seen", value)
		}
	}
	if kind == "service-port" && !strings.Contains(seen, `"value":"x 80"`) {
		t.Error("the port is not the one that the Service listens on")
	}
}

func validObject(t *testing.T, o planner.Object, tree map[string]any) {
	t.Helper()
	rule := validation.IsDNS1123Subdomain
	var into any
	switch o.Kind {
	case "Deployment":
		into = &appsv1.Deployment{}
	case "StatefulSet":
		into, rule = &appsv1.StatefulSet{}, func(name string) []string { return validation.IsDNS1123Label(name + "-0123456789") }
	case "Service":
		into, rule = &corev1.Service{}, validation.IsDNS1035Label
	case "Secret":
		into = &corev1.Secret{}
	case "Job":
		into, rule = &batchv1.Job{}, validation.IsDNS1123Label
	case "HTTPRoute":
		into = &map[string]any{}
	default:
		t.Fatalf("an object of kind %s", o.Kind)
	}
	if bad := rule(o.Name); len(bad) > 0 {
		t.Errorf("%s %q: %v", o.Kind, o.Name, bad)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Errorf("%s %s: %v", o.Kind, o.Name, err)
	}
	labels := tree["metadata"].(map[string]any)["labels"].(map[string]any)
	for _, value := range labels {
		if bad := validation.IsValidLabelValue(fmt.Sprint(value)); len(bad) > 0 {
			t.Errorf("%s %s: label %v: %v", o.Kind, o.Name, value, bad)
		}
	}
}

// The tests below are named after the rows of docs/comparison.md; the other rows are proven in pkg/planner/kubernetes,
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
