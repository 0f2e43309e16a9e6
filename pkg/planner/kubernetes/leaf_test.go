package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/innominatus/reconciler/pkg/planner/kubernetes"
	"github.com/innominatus/reconciler/pkg/score"
)

// leaf is a scalar of a document that can be set.
type leaf struct {
	path  string
	value any
	set   func(any)
}

func leavesOf(v any, path string, set func(any)) (out []leaf) {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			out = append(out, leavesOf(item, path+"/"+key, func(other any) { v[key] = other })...)
		}
	case []any:
		for i, item := range v {
			out = append(out, leavesOf(item, fmt.Sprintf("%s/%d", path, i), func(other any) { v[i] = other })...)
		}
	default:
		out = append(out, leaf{path, v, set})
	}
	return out
}

// others are values that may take a leaf's place; which of them are valid is for pkg/score to say.
func others(v any) []any {
	switch v := v.(type) {
	case bool:
		return []any{!v}
	case float64:
		return []any{v + 1}
	case string:
		return []any{v + "x", "x" + v, "777", "7", "9Gi", "YmFy", "UDP", "TCP", "HTTP", "HTTPS", "started", "healthy", "complete", "Deployment"}
	}
	return nil
}

// outcome is everything that a document leads to.
func outcome(t *testing.T, document any) (text string, valid bool) {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	list, faults := score.Load(score.Source{Name: "app/score.yaml", Data: data})
	if faults.Err() != nil || len(list) != 1 {
		return "", false
	}
	trees, faults := kubernetes.Render(input(list[0]))
	var told strings.Builder
	for _, f := range faults {
		told.WriteString(f.Message + "\n")
	}
	rendered, err := json.Marshal(trees)
	if err != nil {
		t.Fatal(err)
	}
	return string(rendered) + told.String(), true
}

func TestNoValueOfAFileIsDroppedSilently(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"full.yaml", "arrays.yaml", "statefulset.yaml"} {
		var document map[string]any
		if err := yaml.Unmarshal([]byte(testFile(t, name)), &document); err != nil {
			t.Fatal(err)
		}
		base, _ := outcome(t, document)
		for _, l := range leavesOf(document, "", nil) {
			if l.path == "/apiVersion" || l.path == "/metadata/team" || strings.HasPrefix(l.path, "/resources/") {
				continue // the same for all; what placeholders may name; for provisioners
			}
			if l.path == "/containers/migrate/before/proxy/ready" {
				continue // another container waits for more of the same one
			}
			tried := 0
			for _, other := range others(l.value) {
				l.set(other)
				got, valid := outcome(t, document)
				if valid && other != l.value {
					tried++
					if got == base {
						t.Errorf("%s: %s from %v to %v changes nothing and is not told", name, l.path, l.value, other)
					}
				}
			}
			l.set(l.value)
			if tried == 0 {
				t.Errorf("%s: no other value fits %s", name, l.path)
			}
		}
	}
}
