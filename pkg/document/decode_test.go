package document_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
)

type inner struct {
	Path string `yaml:"path,required"`
	At   fault.Place
}

type settings struct {
	Name   string            `yaml:"name,required"`
	Count  int32             `yaml:"count"`
	On     *bool             `yaml:"on"`
	Every  time.Duration     `yaml:"every"`
	List   []inner           `yaml:"list"`
	Labels map[string]string `yaml:"labels"`
	Any    any               `yaml:"any"`
	Inner  *inner            `yaml:"inner"`
}

func TestReadsWhatTheStructNames(t *testing.T) {
	t.Parallel()
	var got settings
	faults := document.Decode("f.yaml", []byte(`name: 007
count: -3
on: false
every: 1h30m
list: [{path: a}, {path: &p b}]
labels: {a.b: 1.10, c: *p}
any: {x: [1, true]}
inner:
  path: c
`), &got)
	want := settings{
		Name: "007", Count: -3, On: new(false), Every: 90 * time.Minute,
		List:   []inner{{"a", fault.Place{File: "f.yaml", Line: 5, Column: 8}}, {"b", fault.Place{File: "f.yaml", Line: 5, Column: 19}}},
		Labels: map[string]string{"a.b": "1.10", "c": "b"}, Any: map[string]any{"x": []any{1, true}},
		Inner: &inner{"c", fault.Place{File: "f.yaml", Line: 9, Column: 3}},
	}
	if diff := cmp.Diff(want, got); diff != "" || faults != nil {
		t.Errorf("%v %s", faults, diff)
	}
}

func TestTellsEverythingThatIsWrongAtItsPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing":            {"", nil},
		"a comment":          {"# nothing\n", nil},
		"not YAML":           {"name: [a\n", []string{"ORC-3001 f.yaml:2:1"}},
		"two documents":      {"name: a\n---\nname: b\n", []string{"ORC-3001 f.yaml:1"}},
		"key twice":          {"name: a\nname: b\n", []string{"ORC-3001 f.yaml:2:1"}},
		"key twice, map":     {"name: a\nlabels:\n  x: a\n  x: b\n", []string{"ORC-3001 f.yaml:4:3"}},
		"unknown key":        {"namee: a\nname: b\n", []string{"ORC-3002 f.yaml:1:1 name"}},
		"unknown below":      {"name: b\ninner: {path: a, pat: b}\n", []string{"ORC-3002 f.yaml:2:18 path"}},
		"missing":            {"count: 1\n", []string{"ORC-3004 f.yaml:1:1"}},
		"null is missing":    {"name: ~\n", []string{"ORC-3004 f.yaml:1:1"}},
		"empty is missing":   {"name: \"\"\n", []string{"ORC-3004 f.yaml:1:1"}},
		"list of a map":      {"name: a\nlist: {a: b}\n", []string{"ORC-3003 f.yaml:2:7"}},
		"map of a list":      {"name: a\nlabels: [a]\n", []string{"ORC-3003 f.yaml:2:9"}},
		"scalar of a map":    {"name: {a: b}\n", []string{"ORC-3003 f.yaml:1:7"}},
		"document a list":    {"- a\n", []string{"ORC-3003 f.yaml:1:1"}},
		"no number":          {"name: a\ncount: many\n", []string{"ORC-3003 f.yaml:2:8"}},
		"too large":          {"name: a\ncount: 3000000000\n", []string{"ORC-3003 f.yaml:2:8"}},
		"no truth value":     {"name: a\n\"on\": maybe\n", []string{"ORC-3003 f.yaml:2:7"}},
		"no duration":        {"name: a\nevery: 5\n", []string{"ORC-3003 f.yaml:2:8"}},
		"negative duration":  {"name: a\nevery: -5m\n", []string{"ORC-3003 f.yaml:2:8"}},
		"list as a key":      {"name: a\nlabels: {[a]: b}\n", []string{"ORC-3003 f.yaml:2:10"}},
		"merge key":          {"name: a\n<<: {count: 1}\n", []string{"ORC-3002 f.yaml:2:1"}},
		"several":            {"count: x\nlist: [{}, {path: a, x: 1}]\nfoo: 1\n", []string{"ORC-3003 f.yaml:1:8", "ORC-3004 f.yaml:1:1", "ORC-3004 f.yaml:2:8", "ORC-3002 f.yaml:2:22", "ORC-3002 f.yaml:3:1"}},
		"bytes, not letters": {"name: \"größe\"\nlabels: {ü: ö, ß: {a: b}}\n", []string{"ORC-3003 f.yaml:2:22"}},
	} {
		var into settings
		var got []string
		for _, f := range document.Decode("f.yaml", []byte(c.text), &into) {
			line := fmt.Sprintf("%s %s %s", f.Code, f.Place, f.Suggestion)
			got = append(got, strings.TrimSpace(line))
			if f.Place.Line > 0 && f.Excerpt == "" && f.Code != fault.ConfigSyntax || f.Message == "" {
				t.Errorf("%s: %v shows nothing", name, f)
			}
		}
		slices.Sort(c.want)
		slices.Sort(got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func FuzzReadsAnything(f *testing.F) {
	for _, seed := range []string{
		"name: a\ncount: 1\non: true\nevery: 1s\nlist: [{path: x}]\nlabels: {a: b}\nany: [1]\ninner: {path: p}\n",
		"any: !!null x\n", "a: &a [*a]\n", "any: &a {b: *a}\n", "? [a]\n: b\n", "\xff\xfe", "labels: {<<: {a: b}}\n", "any: !foo bar\n", "\u2028name: a", "- - -",
		"any: {1: 2, ~: x}\n", "list: [~]\n", "inner: ~\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var into settings
		for _, fault := range document.Decode("f.yaml", data, &into) {
			if !utf8.ValidString(fault.Text()) {
				t.Fatalf("%q: %q", data, fault.Text())
			}
		}
	})
}
