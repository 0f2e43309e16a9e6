package recipe_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/platform/recipe"
)

// counting is a recipe whose state tells how often it was evaluated.
var counting = recipe.Sections{
	State:   `count: {{ add 1 (default 0 .State.count) }}`,
	Outputs: `{count: {{ .State.count }}, way: {{ (index .WorkloadServices "shop").ServiceName | quote }}}`,
}

func evaluate(t *testing.T, r *recipe.Recipe, in recipe.Input, last recipe.Record) (*recipe.Result, recipe.Record) {
	t.Helper()
	result, record, err := r.Evaluate(in, last)
	if err != nil {
		t.Fatal(err)
	}
	return result, record
}

func countingInput() recipe.Input {
	return recipe.Input{
		Uid: "u", Params: map[string]any{"size": 1}, Metadata: map[string]any{}, WorkloadMetadata: map[string]any{"name": "shop"},
		WorkloadServices: map[string]recipe.Service{"shop": {ServiceName: "shop", Ports: map[string]recipe.Port{"web": {Name: "web", Port: 80}}}},
	}
}

func TestWhatWasMadeOfTheSameIsNotEvaluatedAgain(t *testing.T) {
	t.Parallel()
	r := compile(t, counting)
	in := countingInput()
	first, record := evaluate(t, r, in, recipe.Record{})
	in.State = first.State
	again, same := evaluate(t, r, in, record)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(record, same); diff != "" {
		t.Error(diff)
	}
}

func TestAnyOtherInputIsEvaluatedAnew(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*recipe.Input){
		"uid":              func(in *recipe.Input) { in.Uid = "v" },
		"guid":             func(in *recipe.Input) { in.Guid = "g" },
		"id":               func(in *recipe.Input) { in.Id = "i" },
		"class":            func(in *recipe.Input) { in.Class = "c" },
		"param":            func(in *recipe.Input) { in.Params = map[string]any{"size": 2} },
		"type of a param":  func(in *recipe.Input) { in.Params = map[string]any{"size": "1"} },
		"metadata":         func(in *recipe.Input) { in.Metadata = map[string]any{"a": "b"} },
		"workload":         func(in *recipe.Input) { in.WorkloadMetadata = map[string]any{"name": "other"} },
		"source workload":  func(in *recipe.Input) { in.SourceWorkload = "other" },
		"namespace":        func(in *recipe.Input) { in.Namespace = "n" },
		"seed":             func(in *recipe.Input) { in.Seed[0] = 1 },
		"service's port":   func(in *recipe.Input) { in.WorkloadServices["shop"].Ports["web"] = recipe.Port{Name: "web", Port: 81} },
		"another service":  func(in *recipe.Input) { in.WorkloadServices["cart"] = recipe.Service{ServiceName: "cart"} },
		"name of services": func(in *recipe.Input) { in.WorkloadServices["shop"] = recipe.Service{ServiceName: "store"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := compile(t, counting)
			in := countingInput()
			first, record := evaluate(t, r, in, recipe.Record{})
			in.State = first.State
			change(&in)
			if second, _ := evaluate(t, r, in, record); second.State["count"] != 2 {
				t.Errorf("got %v, want a second evaluation", second.State)
			}
		})
	}
	t.Run("templates", func(t *testing.T) {
		t.Parallel()
		in := countingInput()
		first, record := evaluate(t, compile(t, counting), in, recipe.Record{})
		in.State = first.State
		other := counting
		other.Outputs += "\n"
		if second, _ := evaluate(t, compile(t, other), in, record); second.State["count"] != 2 {
			t.Errorf("got %v, want a second evaluation", second.State)
		}
	})
}

func TestWhatLooksAtSharedStateIsAlwaysEvaluated(t *testing.T) {
	t.Parallel()
	for _, sections := range []recipe.Sections{
		{State: counting.State, Shared: `{a: 1}`},
		{State: counting.State, Outputs: `{n: {{ len .Shared }}}`},
	} {
		r := compile(t, sections)
		in := recipe.Input{Uid: "u"}
		first, record := evaluate(t, r, in, recipe.Record{})
		in.State = first.State
		if second, _ := evaluate(t, r, in, record); second.State["count"] != 2 {
			t.Errorf("got %v, want a second evaluation", second.State)
		}
	}
}

func TestValuesHaveTheSameTypeFreshAndReadAgain(t *testing.T) {
	t.Parallel()
	r := compile(t, recipe.Sections{Outputs: `{int: 1000000, float: 0.5, whole: 2.0, large: 18446744073709551615, day: 2026-01-02, none: null, list: [1, {a: 2}], text: "1"}`})
	fresh, record := evaluate(t, r, recipe.Input{}, recipe.Record{})
	again, err := record.Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fresh, again); diff != "" {
		t.Error(diff)
	}
	want := map[string]any{
		"int": 1000000, "float": 0.5, "whole": 2, "large": json.Number("18446744073709551615"), "day": "2026-01-02T00:00:00Z", "none": nil,
		"list": []any{1, map[string]any{"a": 2}}, "text": "1",
	}
	if diff := cmp.Diff(want, fresh.Outputs); diff != "" {
		t.Error(diff)
	}
}

func TestWhatJSONCannotHoldIsAnError(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{a: .inf}`, `{a: {1: b}}`} {
		if _, _, err := compile(t, recipe.Sections{Outputs: text}).Evaluate(recipe.Input{}, recipe.Record{}); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func TestNumbersStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	got, err := recipe.Decode([]byte(`{"a": 1000000, "b": [9007199254740993, 1e3, 0.25]}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"a": 1000000, "b": []any{9007199254740993, 1000, 0.25}}, got); diff != "" {
		t.Error(diff)
	}
	if got := recipe.Number("1e400"); got != json.Number("1e400") {
		t.Errorf("got %v", got)
	}
}
