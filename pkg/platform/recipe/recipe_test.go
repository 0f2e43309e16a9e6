package recipe_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/platform/recipe"
)

func compile(t testing.TB, s recipe.Sections) *recipe.Recipe {
	t.Helper()
	r, err := recipe.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSectionsAreEvaluatedInOrderAndSeeEachOther(t *testing.T) {
	t.Parallel()
	r := compile(t, recipe.Sections{
		Init:      `first: {{ .Params.a | quote }}`,
		State:     `count: {{ add 1 (default 0 .State.count) }}` + "\n" + `init: {{ .Init.first | quote }}`,
		Shared:    "{{ .Uid | quote }}: {count: {{ .State.count }}}\ngone: null",
		Outputs:   `out: {{ .State.init | quote }}` + "\n" + `shared: {{ len .Shared }}`,
		Manifests: `[{apiVersion: v1, kind: X, metadata: {name: {{ .State.init | quote }}}}]`,
	})
	got, err := r.Run(recipe.Input{
		Uid: "u", Params: map[string]any{"a": "x"}, State: map[string]any{"count": 4},
		Shared: map[string]any{"other": 1, "gone": 2, "u": map[string]any{"kept": true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &recipe.Result{
		State:     map[string]any{"count": 5, "init": "x"},
		Shared:    map[string]any{"other": 1, "u": map[string]any{"count": 5, "kept": true}},
		Outputs:   map[string]any{"out": "x", "shared": 2},
		Manifests: []map[string]any{{"apiVersion": "v1", "kind": "X", "metadata": map[string]any{"name": "x"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheSameSeedGivesTheSameValues(t *testing.T) {
	t.Parallel()
	r := compile(t, recipe.Sections{Outputs: `
a: {{ randAlphaNum 16 }}
b: {{ randAlpha 16 }}
c: "{{ randNumeric 16 }}"
d: {{ randAscii 16 | b64enc | quote }}
e: {{ randBytes 16 }}
f: {{ randInt 1 1000000 }}
g: {{ uuidv4 }}
h: {{ shuffle "abcdefghijklmnopqrstuvwxyz" }}
keys: {{ keys .Params | toJson }}
values: {{ values .Params | toJson }}
`})
	params := map[string]any{}
	for i := range 20 {
		params[fmt.Sprintf("k%02d", i)] = i
	}
	run := func(seed byte) string {
		result, err := r.Run(recipe.Input{Params: params, Seed: [32]byte{seed}})
		if err != nil {
			t.Error(err)
			return ""
		}
		text, _ := json.Marshal(result)
		return string(text)
	}
	want := run(1)
	if run(2) == want {
		t.Error("another seed gives the same values")
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				if got := run(1); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	group.Wait()
}

func TestFunctionsThatLookAtTheWorldDoNotExist(t *testing.T) {
	t.Parallel()
	for _, call := range []string{
		"now", "date \"2006\" 0", "ago 0", "htmlDate 0", "unixEpoch 0", "toDate \"a\" \"b\"", "durationRound 1", "env \"HOME\"",
		"expandenv \"$HOME\"", "getHostByName \"localhost\"", "genPrivateKey \"rsa\"", "genCA \"a\" 1", "derivePassword 1 \"a\" \"b\" \"c\" \"d\"",
		"genSelfSignedCert \"a\" nil nil 1", "htpasswd \"a\" \"b\"", "bcrypt \"a\"", "encryptAES \"a\" \"b\"", "osBase \"a\"",
		"dateInZone \"a\" 0 \"UTC\"", "must_date_modify \"1h\" 0",
	} {
		_, err := recipe.Compile(recipe.Sections{State: "a: {{ " + call + " }}"})
		var section *recipe.Error
		if !errors.As(err, &section) || section.Section != "state" || !strings.Contains(err.Error(), "not defined") {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestRefusesWhatCannotBeEvaluated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sections recipe.Sections
		section  string
		text     string
	}{
		"no template":         {recipe.Sections{Outputs: "{{ if }}"}, "outputs", "missing value"},
		"no YAML":             {recipe.Sections{Outputs: "a: [b"}, "outputs", "not the YAML"},
		"a list for a map":    {recipe.Sections{State: "- a"}, "state", "not the YAML"},
		"a map for a list":    {recipe.Sections{Manifests: "a: b"}, "manifests", "not the YAML"},
		"a key twice":         {recipe.Sections{Outputs: "a: 1\na: 2"}, "outputs", "not the YAML"},
		"fails":               {recipe.Sections{Init: `{{ fail "host is missing" }}`}, "init", "host is missing"},
		"too long":            {recipe.Sections{Outputs: `a: {{ repeat 5000000 "x" }}`}, "outputs", "more than"},
		"random too long":     {recipe.Sections{Outputs: `a: {{ randAlpha 5000 }}`}, "outputs", "limit"},
		"negative random":     {recipe.Sections{Outputs: `a: {{ randBytes -1 }}`}, "outputs", "limit"},
		"random from 1 to 1":  {recipe.Sections{Outputs: `a: {{ randInt 1 1 }}`}, "outputs", "growing"},
		"half a reference":    {recipe.Sections{Outputs: `a: {{ encodeSecretRef "a" "" }}`}, "outputs", "encodeSecretRef"},
		"long list":           {recipe.Sections{Outputs: `a: {{ len (until 1000000000) }}`}, "outputs", "the limit is 10000"},
		"long list down":      {recipe.Sections{Outputs: `a: {{ len (untilStep 0 -1000000000 -2) }}`}, "outputs", "the limit is 10000"},
		"long sequence":       {recipe.Sections{Outputs: `a: {{ len (seq 1 2 1000000000) }}`}, "outputs", "the limit is 10000"},
		"numbers that wrap":   {recipe.Sections{Outputs: `a: {{ len (untilStep -9223372036854775808 9223372036854775807 1) }}`}, "outputs", "the limit is 10000"},
		"sequence that wraps": {recipe.Sections{Outputs: `a: {{ len (seq -9223372036854775808 9223372036854775807) }}`}, "outputs", "the limit is 10000"},
		"deep indentation":    {recipe.Sections{Outputs: `a: {{ nindent 1000000000 "x" }}`}, "outputs", "the limit is 10000"},
		"many times":          {recipe.Sections{Outputs: `a: {{ repeat 4611686018427387904 "xxxx" }}`}, "outputs", "more than"},
		"two documents":       {recipe.Sections{Outputs: "a: b\n---\nc: d"}, "outputs", "more than one document"},
		"endless template":    {recipe.Sections{Outputs: `{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}`}, "outputs", "depth"},
	} {
		r, err := recipe.Compile(c.sections)
		if err == nil {
			_, err = r.Run(recipe.Input{})
		}
		var section *recipe.Error
		if !errors.As(err, &section) || section.Section != c.section || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestListsOfNumbersAreAsInSprig(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{{ until 3 }}`: "[0 1 2]", `{{ until -2 }}`: "[0 -1]", `{{ until 0 }}`: "[]", `{{ untilStep 3 8 2 }}`: "[3 5 7]",
		`{{ untilStep 3 0 -2 }}`: "[3 1]", `{{ untilStep 0 3 -1 }}`: "[]", `{{ untilStep 0 3 0 }}`: "[]",
		`{{ seq 3 }}`: "1 2 3", `{{ seq 2 4 }}`: "2 3 4", `{{ seq 0 2 5 }}`: "0 2 4", `{{ seq }}`: "",
		`{{ indent 2 "a\nb" }}`: "  a\n  b", `{{ nindent 1 "a" }}`: "\n a", `{{ repeat 3 "ab" }}`: "ababab", `{{ repeat 2 "" }}`: "",
	} {
		got, err := compile(t, recipe.Sections{Outputs: `a: {{ ` + strings.Trim(text, "{} ") + ` | print | quote }}`}).Run(recipe.Input{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got.Outputs["a"] != want {
			t.Errorf("%s is %q, want %q", text, got.Outputs["a"], want)
		}
	}
}

func TestEmptySectionsGiveNothing(t *testing.T) {
	t.Parallel()
	got, err := compile(t, recipe.Sections{State: "# only a comment", Outputs: "\n", Manifests: "{{ if false }}- a: b{{ end }}"}).Run(recipe.Input{})
	if err != nil || len(got.State)+len(got.Outputs)+len(got.Manifests) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestKnowsWhetherOtherWorkloadsMatter(t *testing.T) {
	t.Parallel()
	if !compile(t, recipe.Sections{Init: "a: {{ len .WorkloadServices }}"}).UsesServices || compile(t, recipe.Sections{Init: "a: b"}).UsesServices {
		t.Error("the use of services is not seen")
	}
	if !compile(t, recipe.Sections{Shared: "a: b"}).Sharing || compile(t, recipe.Sections{State: "a: b"}).Sharing {
		t.Error("sharing is not seen")
	}
}

func TestCutsTextsAtReferencesToSecrets(t *testing.T) {
	t.Parallel()
	ref, err := recipe.SecretRef("db", "pass_word")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]recipe.Piece{
		"":                  nil,
		"plain":             {{Text: "plain"}},
		ref:                 {{Secret: "db", Key: "pass_word"}},
		"a" + ref + "b":     {{Text: "a"}, {Secret: "db", Key: "pass_word"}, {Text: "b"}},
		ref + ref:           {{Secret: "db", Key: "pass_word"}, {Secret: "db", Key: "pass_word"}},
		"🔐💬open":            {{Text: "🔐💬open"}},
		"🔐💬nounderline💬🔐 x": {{Text: "🔐💬nounderline💬🔐 x"}},
	} {
		if diff := cmp.Diff(want, recipe.SplitSecrets(text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
