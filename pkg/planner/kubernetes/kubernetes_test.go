package kubernetes_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner/kubernetes"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/score"
)

// load reads the one workload of a valid Score file.
func load(t testing.TB, text string) *score.Workload {
	t.Helper()
	list, faults := score.Load(score.Source{Name: "app/score.yaml", Data: []byte(text)})
	if faults.Err() != nil || len(list) != 1 {
		t.Fatalf("the Score file of the test is not valid: %v", faults)
	}
	return list[0]
}

func testFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// input gives a workload a world: db has a host and a secret password, data is a volume, claim a claim, odd nothing of
// the kind, and vault a secret whose value nobody knows.
func input(w *score.Workload) kubernetes.Input {
	password := kubernetes.SecretRef{Name: "db-secret", Key: "password"}
	values := map[string]kubernetes.Part{
		"metadata.name":            {Text: w.Name},
		"resources.db.host":        {Text: "db.internal"},
		"resources.db.password":    {Secret: &password},
		"resources.vault.password": {Secret: &kubernetes.SecretRef{Name: "vault", Key: "password"}},
	}
	outputs := map[string]map[string]any{
		"data":    {"source": map[string]any{"emptyDir": map[string]any{}}},
		"wrong":   {"source": map[string]any{"emptyDirr": map[string]any{}}},
		"nothing": {"source": map[string]any{}},
		"two":     {"source": map[string]any{"emptyDir": map[string]any{}, "hostPath": map[string]any{"path": "/"}}},
		"claim": {"claimSpec": map[string]any{
			"accessModes": []any{"ReadWriteOnce"}, "resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}},
		}},
		"badclaim": {"claimSpec": map[string]any{"accessMode": "x"}},
	}
	return kubernetes.Input{
		Workload: w, Namespace: "shops", Defaults: platform.Defaults{},
		Resolve: func(text string, _ fault.Place) ([]kubernetes.Part, error) {
			var out []kubernetes.Part
			for _, p := range score.Parse(text) {
				part := kubernetes.Part{Text: p.Literal}
				if p.Path != nil {
					var known bool
					if part, known = values[strings.Join(p.Path, ".")]; !known {
						return nil, fault.New(fault.ScorePlaceholder, "${%s} is not known", p.Raw)
					}
				}
				if n := len(out); n > 0 && part.Secret == nil && out[n-1].Secret == nil {
					out[n-1].Text += part.Text
				} else {
					out = append(out, part)
				}
			}
			return out, nil
		},
		Volume: func(source string, _ fault.Place) (string, map[string]any, error) {
			parts := score.Parse(source)
			if len(parts) != 1 || len(parts[0].Path) != 2 {
				return "", nil, fault.New(fault.RenderVolume, "%s is no resource", source)
			}
			return parts[0].Path[1], outputs[parts[0].Path[1]], nil
		},
		Source: func(path string, at fault.Place) ([]byte, error) {
			if path != "files/from-commit.txt" {
				return nil, errors.New("there is no such file")
			}
			return []byte("from the commit of ${metadata.name}\n"), nil
		},
		SecretValue: func(r kubernetes.SecretRef) (string, bool) { return "hunter2", r == password },
		Fingerprint: func(v string) string { return "fp-" + strings.Repeat("x", len(v)) },
	}
}

// render renders a Score file that must be possible.
func render(t testing.TB, text string) []map[string]any {
	t.Helper()
	trees, faults := kubernetes.Render(input(load(t, text)))
	if faults.Err() != nil {
		t.Fatalf("not rendered: %v", faults)
	}
	return trees
}

// pod returns the Pod's specification among objects.
func pod[T any](t testing.TB, trees []map[string]any) T {
	t.Helper()
	for _, tree := range trees {
		if spec, ok := tree["spec"].(map[string]any); ok && spec["template"] != nil {
			return as[T](t, spec["template"].(map[string]any)["spec"])
		}
	}
	t.Fatal("there is no Pod")
	panic("unreachable")
}

// as decodes a tree strictly.
func as[T any](t testing.TB, tree any) T {
	t.Helper()
	var out T
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}
