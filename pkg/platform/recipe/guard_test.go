package recipe_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/platform/recipe"
)

// contexts are the ways in which templates put a value into YAML.
func contexts() map[string]string {
	return map[string]string{
		"quoted":        `{apiVersion: v1, kind: X, metadata: {name: a}, spec: {value: {{ .Params.value | quote }}}}`,
		"json":          `{apiVersion: v1, kind: X, metadata: {name: a}, spec: {value: {{ .Params.value | toJson }}}}`,
		"single quotes": "apiVersion: v1\n  kind: X\n  metadata: {name: a}\n  spec:\n    value: '{{ .Params.value }}'\n    other: 1",
		"double quotes": "apiVersion: v1\n  kind: X\n  metadata: {name: a}\n  spec:\n    value: \"{{ .Params.value }}\"\n    other: 1",
		"bare":          "apiVersion: v1\n  kind: X\n  metadata: {name: a}\n  spec:\n    value: {{ .Params.value }}\n    other: 1",
		"bare inside":   "apiVersion: v1\n  kind: X\n  metadata: {name: a}\n  spec:\n    value: pre-{{ .Params.value }}-post\n    other: 1",
		"flow":          "{apiVersion: v1, kind: X, metadata: {name: a}, spec: {value: {{ .Params.value }}, other: 1}}",
		"flow list":     "{apiVersion: v1, kind: X, metadata: {name: a}, spec: [{{ .Params.value }}, b]}",
		"key":           "apiVersion: v1\n  kind: X\n  metadata: {name: a}\n  spec:\n    {{ .Params.value }}: x\n    other: 1",
		"block":         "apiVersion: v1\n  kind: X\n  metadata: {name: a}\n  spec:\n    value: |\n      {{ .Params.value }}\n    other: 1",
		"indented":      "apiVersion: v1\n  kind: X\n  metadata: {name: a}\n  spec:\n    value: |\n{{ .Params.value | indent 6 }}\n    other: 1",
		"comment":       "apiVersion: v1 # {{ .Params.value }}\n  kind: X\n  metadata: {name: a}",
	}
}

// skeleton is the structure of objects without the values of scalars, and with keys.
func skeleton(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var keys []string
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		out := "{"
		for _, k := range keys {
			out += k + ":" + skeleton(v[k]) + ","
		}
		return out + "}"
	case map[any]any:
		return "{" + strings.Repeat(":.,", len(v)) + "}"
	case []any:
		out := "["
		for _, item := range v {
			out += skeleton(item) + ","
		}
		return out + "]"
	default:
		return "."
	}
}

// outcome renders a value in a context and returns the structure, or "" if it is refused.
func outcome(t testing.TB, template string, value any) string {
	t.Helper()
	return rendered(compile(t, recipe.Sections{Manifests: "- " + template}), value)
}

func rendered(r *recipe.Recipe, value any) string {
	result, err := r.Run(recipe.Input{Params: map[string]any{"value": value}})
	if err != nil {
		return ""
	}
	out := ""
	for _, m := range result.Manifests {
		out += fmt.Sprintf("%v/%v", m["apiVersion"], m["kind"]) + skeleton(m) + "\n"
	}
	return out
}

func attacks() []string {
	return []string{
		"x\n    admin: true", "x\n  kind: Y", "x\n- {apiVersion: v1, kind: Evil, metadata: {name: b}}", "x\r\n    admin: true", "x\radmin: true",
		"x\u0085    admin: true", "x\u2028    admin: true", "x\u2029    admin: true", "x\", admin: \"true", "x', admin: 'true", "x'\n    admin: 'true",
		"x\"\n    admin: \"true", "a: b", "a:", ": b", "? a", "{admin: true}", "[a, b]", "a}, admin: {b: c", "a, admin: true", "a, b", "a]", "*anchor",
		"&anchor x", "!!map {a: b}", "!!binary aGk=", "| \n      a", ">\n", "# gone", "x # gone", "%YAML 1.2", "---\nkind: Evil", "...\n", "\tadmin: true",
		"@at", "`tick", "- item", "-", "?", "<<: {admin: true}", "<<", "=", "~", "\\", "\\\"", "\u0000", "\ufeffadmin: true", "x\n\n\n", " x", "x ",
		"\"", "'", "{{ .State }}", "a\\nb: c", "x:\n      admin: true", "null", "true", "1e3", "x\x85admin: true",
	}
}

func TestNoValueChangesTheStructureOfManifests(t *testing.T) {
	t.Parallel()
	for name, template := range contexts() {
		want := outcome(t, template, "harmless")
		if want == "" {
			t.Fatalf("%s: the template does not work", name)
		}
		for _, attack := range attacks() {
			got := outcome(t, template, attack)
			if name == "key" && got != "" {
				// The value is a key by the template's own will; nothing else may come with it.
				if strings.Count(got, ":") != strings.Count(want, ":")+strings.Count(attack, ":") {
					t.Errorf("%s: %q gives %s", name, attack, got)
				}
				continue
			}
			if got != "" && got != want {
				t.Errorf("%s: %q gives %s, want %s", name, attack, got, want)
			}
		}
	}
}

func TestNoKeyOfAMapChangesTheStructure(t *testing.T) {
	t.Parallel()
	template := "apiVersion: v1\n  kind: X\n  metadata: {name: a}\n  spec:\n    {{- range $k, $v := .Params.value }}\n    {{ $k }}: {{ $v | quote }}\n    {{- end }}\n    other: 1"
	for _, attack := range attacks() {
		got := outcome(t, template, map[string]any{attack: "v"})
		if strings.Contains(got, "admin:") && !strings.Contains(attack, "{") || strings.Contains(got, "Evil") {
			t.Errorf("%q gives %s", attack, got)
		}
	}
	r := compile(t, recipe.Sections{Manifests: "- " + template})
	if _, err := r.Run(recipe.Input{Params: map[string]any{"value": map[string]any{"a: b\n    admin": "v"}}}); err == nil {
		t.Error("a key brings another one")
	}
}

func TestNamesTheValueThatIsRefused(t *testing.T) {
	t.Parallel()
	r := compile(t, recipe.Sections{Outputs: "a: {{ .Params.good | quote }}\nb: {{ index .Params.list 1 }}\nc: {{ .Metadata.x }}"})
	for want, in := range map[string]recipe.Input{
		"params.list.1": {Params: map[string]any{"good": "a: b", "list": []any{"x", "y\nadmin: true"}}, Metadata: map[string]any{"x": "fine here"}},
		"metadata.x":    {Params: map[string]any{"good": "a: b", "list": []any{"x", "y"}}, Metadata: map[string]any{"x": "y\nadmin: true"}},
	} {
		_, err := r.Run(in)
		var shape *recipe.ShapeError
		if !errors.As(err, &shape) || strings.Join(shape.Path, ".") != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestOrdinaryValuesPass(t *testing.T) {
	t.Parallel()
	certificate := "-----BEGIN CERTIFICATE-----\nMIIB+jCCAWOgAwIBAgI=\n-----END CERTIFICATE-----\n"
	for _, value := range []string{
		"shop.example.com", "*.shop.example.com", "https://user@shop.example.com:8443/a/b?c=d&e=f#g", "/var/lib/data", "*/5 * * * *", "0 3 * * 1-5",
		"@daily", "ann@acme.example", "Bearer {token}", "a, b, c", "{\"json\": [1, 2, \"x\"]}", "50%", "1.2.3", "key=value", "it's", "say \"hi\"", "C:\\temp",
		"größe", "日本語", "a: b", "# no comment", "-", "", " ", "true", "null", "007", "1e10", certificate, "line\nline: 2\n  - x\n", "^[a-z]+(-[a-z]+)*$",
	} {
		for _, context := range []string{"quoted", "json", "indented"} {
			if context == "indented" && (strings.HasPrefix(value, " ") || value == "") {
				continue // leading blanks decide the indentation of a block
			}
			if outcome(t, contexts()[context], value) == "" {
				t.Errorf("%s: %q is refused", context, value)
			}
		}
	}
	for _, value := range []string{
		"shop.example.com", "https://shop.example.com:8443/a/b?c=d", "/var/lib/data", "0 3 * * 1-5", "ann@acme.example", "50%", "1.2.3", "key=value",
		"it's", "größe", "a b c", "true", "007",
	} {
		if outcome(t, contexts()["bare"], value) == "" {
			t.Errorf("bare: %q is refused", value)
		}
	}
}

func TestManySuspectsAreLookedAtInBoundedTime(t *testing.T) {
	t.Parallel()
	list := make([]any, 20000)
	for i := range list {
		list[i] = "a: b"
	}
	list = append(list, "x")
	r := compile(t, recipe.Sections{Outputs: "a: [{{ range .Params.value }}{{ . | quote }},{{ end }}]\nb: {{ index .Params.value 0 | quote }}\nc: {{ join \" \" .Params.value }}"})
	if _, err := r.Run(recipe.Input{Params: map[string]any{"value": list}}); err == nil {
		t.Error("it passes")
	}
}

func FuzzNoParamAddsAKeyOrAnObject(f *testing.F) {
	for _, a := range attacks() {
		f.Add(a)
	}
	recipes := map[string]*recipe.Recipe{}
	for name, template := range contexts() {
		recipes[name] = compile(f, recipe.Sections{Manifests: "- " + template})
	}
	f.Fuzz(func(t *testing.T, value string) {
		for name, r := range recipes {
			want := rendered(r, "harmless")
			if got := rendered(r, value); name != "key" && got != "" && got != want {
				t.Fatalf("%s: %q gives %s, want %s", name, value, got, want)
			}
		}
	})
}
