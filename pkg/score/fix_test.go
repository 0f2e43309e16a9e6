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
