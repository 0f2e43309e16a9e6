package score_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text that people read with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// dialect says whether a fault is one that Fix removes.
func dialect(f *fault.Fault) bool {
	switch f.Code {
	case fault.ScoreDialectVariables, fault.ScoreDialectParams, fault.ScoreDialectPorts, fault.ScoreDialectPlatform, fault.ScoreDialectOutputs:
		return true
	}
	return false
}

// checkFixed looks at what always holds: the result is the same when it is fixed again.
func checkFixed(t *testing.T, data []byte) ([]byte, []score.Change, fault.List) {
	t.Helper()
	fixed, changes, faults := score.Fix(score.Source{Name: "score.yaml", Data: data})
	again, more, _ := score.Fix(score.Source{Name: "score.yaml", Data: fixed})
	if !bytes.Equal(fixed, again) || len(more) > 0 {
		t.Errorf("fixing again changes %v:\n%s\nfrom\n%s", more, again, fixed)
	}
	if len(changes) == 0 && !bytes.Equal(data, fixed) {
		t.Errorf("changed without saying so:\n%s", fixed)
	}
	return fixed, changes, faults
}

func TestFixesTheDialect(t *testing.T) {
	files, err := filepath.Glob("testdata/dialect/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fixed, changes, faults := checkFixed(t, data)
		golden(t, filepath.Join("dialect", strings.TrimSuffix(filepath.Base(name), ".yaml")+".fixed"), fixed)
		if len(changes) == 0 {
			t.Errorf("%s: nothing was changed", name)
		}
		for _, f := range faults.Errors() {
			if dialect(f) {
				t.Errorf("%s: %v", name, f)
			}
		}
	}
}

func TestFixesTheCorpus(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range verdicts(t) {
		if v.dir != "files" || seen[v.file] {
			continue
		}
		seen[v.file] = true
		data, err := os.ReadFile(filepath.Join(corpus, v.dir, v.file))
		if err != nil {
			t.Fatal(err)
		}
		_, changes, faults := checkFixed(t, data)
		if v.verdict == "valid" && len(changes) > 0 {
			t.Errorf("%s is valid and was changed: %v", v.file, changes)
		}
		for _, f := range faults.Errors() {
			if strings.HasPrefix(v.file, "philipsahli") {
				t.Logf("left: %v", f)
			}
			if dialect(f) {
				t.Errorf("left: %v", f)
			}
		}
	}
}

func FuzzFix(f *testing.F) {
	files, err := filepath.Glob("testdata/dialect/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkFixed(t, data) })
}

func TestLeavesWhatCanMeanTwoThings(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: score.dev/v1b1\nmetadata: {name: app}\n"
	container := func(text string) string {
		return head + "containers:\n  main:\n    image: a:1\n    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n"
	}
	for name, file := range map[string]string{
		"value from elsewhere":     container("env:\n- name: A\n  valueFrom: {secretKeyRef: {name: s, key: k}}"),
		"a value and more":         container("env:\n- name: A\n  value: x\n  comment: y"),
		"no value":                 container("env:\n- name: A"),
		"null":                     container("env:\n- {name: A, value: null}"),
		"a list as value":          container("env: [{name: A, value: [x]}]"),
		"a name twice":             container("env:\n- {name: A, value: x}\n- {name: A, value: y}"),
		"no name of a variable":    container("env:\n- {name: A=B, value: x}"),
		"texts":                    container("env: [A=b]"),
		"an anchor":                container("env: &e\n- {name: A, value: x}"),
		"an anchor of all":         container("env: &e\n- {name: A, value: x}") + "  side:\n    image: a:1\n    env: *e\n",
		"an alias":                 container("env:\n- {name: A, value: &a x}\n- {name: B, value: *a}"),
		"dash on its own line":     container("env:\n-\n  name: A\n  value: x"),
		"variables beside it":      container("variables: {B: y}\nenv:\n- {name: A, value: x}"),
		"params beside properties": container("args: []") + "resources:\n  db:\n    type: t\n    params: {a: 1}\n    properties: {b: 2}\n",
		"one name, two numbers":    container("ports:\n- {name: web, port: 8080}") + "service: {ports: {web: {port: 80}}}\n",
		"a service of another form": container("ports: [80]") +
			"service: {type: ClusterIP}\n",
		"a comment in the service": container("ports: [80]") + "service: # none\n  ports: {}\n",
	} {
		if _, changes, _ := checkFixed(t, []byte(file)); len(changes) > 0 {
			t.Errorf("%s: %v", name, changes)
		}
	}
}
