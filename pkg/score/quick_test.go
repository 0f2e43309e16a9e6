package score

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sameAsLibrary compares the quick reader with the YAML library; it says whether the quick reader read the file.
func sameAsLibrary(t *testing.T, data []byte) bool {
	t.Helper()
	src := newSource(Source{Name: "score.yaml", Data: data})
	if refuse(src) != nil {
		return false
	}
	got, ok := quickly(src)
	if !ok {
		return false
	}
	r := &report{}
	want := r.parse(src)
	if len(r.faults) > 0 {
		t.Fatalf("the library says %v\nabout %q", r.faults, data)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("(-library +quick):\n%s\nfor %q", diff, data)
	}
	return true
}

var quickVectors = []string{
	"a: b\n", "a: b", "a:\n", "a: b # c\n", "a: b #\n", "a: b#c\n", "a:  b  \n", "# c\n\na: b\n\n# d\n", "a: b\n  # c\nc: d\n",
	"a: b\n c: d\n", "a: b\n  c\n", "a:\n  b\n", "a:\n  b: c\nd: e\n", "a:\n  b: c\n d: e\n", "a: # c\n  b: c\n",
	"a:\n- b\n- c\nd: e\n", "a:\n  - b\n  - c: d\n    e: f\n  - g\n", "a:\n  -   c: d\n      e: f\n", "- a\n- b\n", "- a: b\n  c: d\n- e\n",
	"a:\n- b\n c: d\n", "a:\n  - b\n  c: d\n", "a: - b\n", "a:\n- - b\n", "a:\n-\n", "a:\n- # c\n", "-\n", "- a:\n  - b\n", "- a:\n  b: c\n",
	"a: []\n", "a: {}\n", "a: [b, \"c\", 'd', 1, true]\n", "a: [ b , c ]\n", "a: [b, ]\n", "a: [b c]\n", "a: [b\n", "a: [b: c]\n", "a: [-b]\n",
	"a: [b]c\n", "a: [b] # c\n", "a: [b]# c\n", "a: [.inf, ., =]\n", "a: {}{}\n", "a: [[b]]\n", "a: [null]\n", "a: [,]\n", "a: [http://b]\n",
	"a: 'b'\n", "a: \"b\"\n", "a: 'b''c'\n", "a: \"b\\n\"\n", "a: 'b' c\n", "a: 'b' # c\n", "a: 'b'# c\n", "a: 'b\n", "'a': b\n", "a: 'b': c\n", "a: ''\n",
	"a: |\n  b\n  c\n", "a: |\n  b\n\n  c\n\n\nd: e\n", "a: |-\n  b\n", "a: |-\n  b\n\n\n", "a: |\n  b\n   c\n", "a: |\n   b\n  c\n", "a: |\nb: c\n", "a: |\n",
	"a: |\n  b", "a: |+\n  b\n\n", "a: |2\n   b\n", "a: |\n\n  b\n", "a: |\n  b\n   \n", "a: |\n  # b\n# c\n", "a: |\n  b\n # c\n", "a:\n  b: |\n    c\n  d: e\n",
	"a:\n  b: |\n   c\n  # e\n  d: |\n    f\n\n# g\n", "a: |\n  b\n c: d\n", "a: | # c\n  b\n", "a: >\n  b\n", "- |\n b\n", "a:\n- b: |\n   c\n",
	"a:\n- b: |\n    c\n  d: e\n", "a: |\n  --- b\n", "a:\n---\n", "---\na: b\n", "...\n", "a: b\n...\n", "...a: b\n", "---a: b\n", "%YAML 1.2\n",
	"a: b: c\n", "a: b:\n", "a: b:c\n", "a:b\n", "a: :b\n", "a: -b\n", "a: -\n", "a: --\n", "a: ?b\n", "a: &b c\n", "a: *b\n", "a: !b c\n", "a: %b\n", "a: @b\n",
	"a: b\na: c\n", "<<: {}\n", "~: a\n", "null: a\n", "1: a\n", "true: a\n", "1.0: a\n", "0x1: a\n", "a b: c\n", "a : b\n", "-a: b\n", ".a: b\n", "/a/b.c: d\n",
	"a: 0600\n", "a: 1_000\n", "a: 8080.0\n", "a: yes\n", "a: 2024-01-01\n", "a: ${b.c}\n", "a: b ${c} d\n", "a: b,c]{}\n", "a: b'c\"\n", "a: ~\n", "a: null\n",
	" a: b\n", "  a: b\n  c: d\n", "a: b\n\n\n", "\n", "", "a\n", "a: b\n# c", "a: b\n ", "a: b\n# c\n  \n", "a: |\n  b\nc: d", "a: |\n  b\n# c", "a: |-\n  b\n ", "a:\n- b", "a: b\n  ", "a: |\n  b  b\n \n   \n", "a:   # c\n\n# d\n  b: c\n", "a: = \n",
}

func TestReadsQuicklyWhatTheLibraryReads(t *testing.T) {
	quick := 0
	for _, v := range quickVectors {
		if sameAsLibrary(t, []byte(v)) {
			quick++
		}
	}
	if quick < len(quickVectors)/3 {
		t.Errorf("only %d of %d vectors were read quickly", quick, len(quickVectors))
	}
}

func TestReadsTheRichFileQuickly(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if ok := sameAsLibrary(t, data); !ok && name == "testdata/rich.yaml" {
			t.Errorf("%s was not read quickly", name)
		}
	}
}

func FuzzQuickReader(f *testing.F) {
	for _, v := range quickVectors {
		f.Add([]byte(v))
	}
	if data, err := os.ReadFile("testdata/rich.yaml"); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { sameAsLibrary(t, data) })
}
