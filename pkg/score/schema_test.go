package score_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/innominatus/reconciler/pkg/score"
)

// official is the JSON schema of the specification with the few keywords that it uses, to judge documents with.
type official struct {
	root     map[string]any
	patterns map[string]*regexp.Regexp
}

func (o *official) valid(schema map[string]any, v any) bool {
	for keyword, arg := range schema {
		if !o.keyword(schema, keyword, arg, v) {
			return false
		}
	}
	return true
}

func (o *official) keyword(schema map[string]any, keyword string, arg, v any) bool {
	object, isObject := v.(map[string]any)
	text, isText := v.(string)
	number, isNumber := v.(float64)
	sub := func(s any) bool { return o.valid(s.(map[string]any), v) }
	count := func() (n int) {
		for _, s := range arg.([]any) {
			if sub(s) {
				n++
			}
		}
		return n
	}
	switch keyword {
	case "$ref":
		return o.valid(o.root["$defs"].(map[string]any)[strings.TrimPrefix(arg.(string), "#/$defs/")].(map[string]any), v)
	case "type":
		return typeOf(v) == arg || arg == "integer" && isNumber && number == float64(int64(number))
	case "required":
		return !isObject || !slices.ContainsFunc(arg.([]any), func(k any) bool { _, ok := object[k.(string)]; return !ok })
	case "properties":
		for k, s := range arg.(map[string]any) {
			if below, ok := object[k]; ok && !o.valid(s.(map[string]any), below) {
				return false
			}
		}
	case "additionalProperties":
		known, _ := schema["properties"].(map[string]any)
		for k, below := range object {
			if _, ok := known[k]; ok || arg == true {
				continue
			}
			if arg == false || !o.valid(arg.(map[string]any), below) {
				return false
			}
		}
	case "propertyNames":
		for k := range object {
			if !o.valid(arg.(map[string]any), k) {
				return false
			}
		}
	case "items":
		list, _ := v.([]any)
		return !slices.ContainsFunc(list, func(item any) bool { return !o.valid(arg.(map[string]any), item) })
	case "minProperties":
		return !isObject || float64(len(object)) >= arg.(float64)
	case "minLength":
		return !isText || float64(utf8.RuneCountInString(text)) >= arg.(float64)
	case "maxLength":
		return !isText || float64(utf8.RuneCountInString(text)) <= arg.(float64)
	case "minimum":
		return !isNumber || number >= arg.(float64)
	case "maximum":
		return !isNumber || number <= arg.(float64)
	case "pattern":
		return !isText || o.pattern(arg.(string)).MatchString(text)
	case "enum":
		return slices.Contains(arg.([]any), v)
	case "oneOf":
		return count() == 1
	case "anyOf":
		return count() > 0
	case "allOf":
		return count() == len(arg.([]any))
	case "not":
		return !sub(arg)
	}
	return true
}

func (o *official) pattern(p string) *regexp.Regexp {
	if o.patterns[p] == nil {
		o.patterns[p] = regexp.MustCompile(p)
	}
	return o.patterns[p]
}

func typeOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		return "number"
	}
	return "null"
}

// mutants calls visit with variations of a document: each value replaced by others, each key taken away, a key added
// to each map. The document is the same again afterwards.
func mutants(v any, set func(any), visit func()) {
	for _, other := range []any{nil, true, "", "x", "ok-name", "Ab=", "0600", "10Gi", "-1", 0.0, 1.0, 1.5, 65535.0, 65536.0, map[string]any{},
		map[string]any{"ab": "cd"}, map[string]any{"target": "x"}, []any{}, []any{"x"}, []any{1.0}, []any{map[string]any{"source": "x"}},
		[]any{map[string]any{"target": "", "content": ""}}, map[string]any{"/a": map[string]any{"source": "x", "target": "/b"}}} {
		set(other)
		visit()
	}
	set(v)
	switch v := v.(type) {
	case []any:
		for i := range v {
			mutants(v[i], func(other any) { v[i] = other }, visit)
		}
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			was := v[k]
			mutants(was, func(other any) { v[k] = other }, visit)
			delete(v, k)
			visit()
			for _, renamed := range []string{"a", "A_b", "content", "binaryContent", "x.yy/zz", ""} {
				if _, there := v[renamed]; !there {
					v[renamed] = was
					visit()
					delete(v, renamed)
				}
			}
			v[k] = was
		}
		for _, added := range []string{"extra", "target", "source", "exec"} {
			if _, there := v[added]; !there {
				v[added] = "x"
				visit()
				delete(v, added)
			}
		}
	}
}

// TestAgreesWithTheSchemaOnMutants compares the verdict with that of the official schema on variations of a rich file.
func TestAgreesWithTheSchemaOnMutants(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(corpus, "score-v1b1.spec-0.4.1.json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the schema is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	o := &official{patterns: map[string]*regexp.Regexp{}}
	if err := json.Unmarshal(data, &o.root); err != nil {
		t.Fatal(err)
	}
	var doc any
	rich, err := os.ReadFile("testdata/rich.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(rich, &doc); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	total, valid := 0, 0
	mutants(doc, func(other any) { doc = other }, func() {
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		_, faults := score.Load(score.Source{Name: "score.yaml", Data: text})
		want := o.valid(o.root, doc)
		if doc == nil {
			want = false // an empty file has no workload
		}
		got := !slices.ContainsFunc(faults, schemaFault)
		if got != want {
			t.Errorf("got %t, the schema says %t about\n%s\n%v", got, want, text, faults)
		}
		if total++; want {
			valid++
		}
	})
	t.Logf("%d variations, %d of them valid", total, valid)
}
