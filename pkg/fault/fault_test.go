package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
)

func TestFindsTheFirstFaultThatStopsInAChain(t *testing.T) {
	t.Parallel()
	warning := fault.New(fault.RenderProbe, "only a warning").Warn()
	stops := fault.New(fault.GitUnreachable, "stops")
	for name, err := range map[string]error{
		"alone":               stops,
		"wrapped":             fmt.Errorf("fetch: %w", stops),
		"list":                fault.List{warning, stops},
		"wrapped list":        fmt.Errorf("plan: %w", fault.List{warning, stops}),
		"joined with another": errors.Join(errors.New("other"), stops),
	} {
		if got, ok := fault.As(err); !ok || got != stops {
			t.Errorf("%s: got %v, %v", name, got, ok)
		}
		if got := fault.ClassOf(err); got != fault.Retryable {
			t.Errorf("%s: class %s", name, got)
		}
	}
	if got, ok := fault.As(fault.List{warning}); !ok || got != warning {
		t.Errorf("a list of warnings gives %v, %v", got, ok)
	}
	if _, ok := fault.As(errors.New("plain")); ok {
		t.Error("an error that is no fault is one")
	}
	if got := fault.ClassOf(errors.New("plain")); got != fault.Retryable {
		t.Errorf("an error from the world outside is %s", got)
	}
}

func TestTurnsEveryErrorIntoFaults(t *testing.T) {
	t.Parallel()
	one := fault.New(fault.NameTaken, "taken")
	list := fault.List{one, fault.New(fault.FileMissing, "missing")}
	plain := errors.New("disk on fire")
	for name, c := range map[string]struct {
		err  error
		want []fault.Code
	}{
		"nil":          {nil, nil},
		"fault":        {fmt.Errorf("x: %w", one), []fault.Code{fault.NameTaken}},
		"list":         {fmt.Errorf("x: %w", list), []fault.Code{fault.NameTaken, fault.FileMissing}},
		"another one":  {plain, []fault.Code{fault.Internal}},
		"empty a list": {fault.List(nil), nil},
	} {
		var got []fault.Code
		for _, f := range fault.Of(c.err) {
			got = append(got, f.Code)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if !errors.Is(fault.Of(plain), plain) {
		t.Error("the cause is lost")
	}
}

func TestListStopsOnlyIfSomethingInItDoes(t *testing.T) {
	t.Parallel()
	warning := fault.New(fault.RenderProbe, "w").Warn()
	stops := fault.New(fault.RenderKind, "e")
	l := fault.List{warning, stops}
	if err := (fault.List{warning}).Err(); err != nil {
		t.Errorf("warnings alone stop: %v", err)
	}
	if l.Err() == nil {
		t.Error("an error does not stop")
	}
	if diff := cmp.Diff([]int{1, 1}, []int{len(l.Errors()), len(l.Warnings())}); diff != "" {
		t.Error(diff)
	}
}

func TestSortsByPlaceThenCodeThenMessage(t *testing.T) {
	t.Parallel()
	at := func(file string, line, column int) *fault.Fault {
		return fault.New(fault.RenderName, "m").At(fault.Place{File: file, Line: line, Column: column})
	}
	want := fault.List{
		at("a", 1, 1), at("a", 1, 2), at("a", 2, 1), at("a", 10, 1), at("b", 1, 1),
		fault.New(fault.RenderKind, "z").At(fault.Place{File: "c"}), fault.New(fault.RenderName, "a").At(fault.Place{File: "c"}),
		fault.New(fault.RenderName, "b").At(fault.Place{File: "c"}),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	got.Sort()
	if diff := cmp.Diff(want.Error(), got.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestPlacesReadAsEditorsTakeThem(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]fault.Place{
		"": {}, "a.yaml": {File: "a.yaml"}, "a.yaml:3": {File: "a.yaml", Line: 3}, "a.yaml:3:7": {File: "a.yaml", Line: 3, Column: 7},
	} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFaultSurvivesTheDatabase(t *testing.T) {
	t.Parallel()
	want := fault.New(fault.RenderProbe, "both").At(fault.Place{File: "score.yaml", Line: 4, Column: 2}).
		Show([]byte("a\nb\nc\n  x: y\n")).Suggest("exec").Do("Remove %s.", "one").Warn()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := &fault.Fault{}
	if err := json.Unmarshal(text, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// A remedy of the catalogue is none of the fault's own, and rows of before hold neither severity nor link.
	for _, stored := range []string{`{"code":"ORC-4009","message":"taken"}`, `{"code":"ORC-4009","severity":"error","message":"taken","remedy":"` + fault.NameTaken.Entry().Remedy + `","link":"x"}`} {
		got := &fault.Fault{}
		if err := json.Unmarshal([]byte(stored), got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fault.New(fault.NameTaken, "taken"), got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestJSONTellsAllThatPeopleAreTold(t *testing.T) {
	t.Parallel()
	f := fault.New(fault.ScoreUnknownKey, "unknown").At(fault.Place{File: "a.yaml", Line: 1, Column: 2}).Show([]byte("imgae: x")).Suggest("image")
	text, err := json.Marshal(map[string]any{"value": *f, "list": fault.List{f}, "none": (*fault.Fault)(nil)})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	one := map[string]any{
		"code": "ORC-1012", "severity": "error", "message": "unknown", "place": map[string]any{"file": "a.yaml", "line": 1.0, "column": 2.0},
		"excerpt": "imgae: x", "caret": 2.0, "suggestion": "image", "remedy": f.Advice(), "link": f.Code.Link(),
	}
	if diff := cmp.Diff(map[string]any{"value": one, "list": []any{one}, "none": nil}, got); diff != "" || f.Advice() == "" {
		t.Error(diff)
	}
}

func TestKeepsItsCauseAndHowLongToWait(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection refused")
	f := fault.New(fault.GitUnreachable, "fetch: %w", cause).RetryAfter(time.Minute)
	if !errors.Is(f, cause) || f.After != time.Minute || f.Message != "fetch: connection refused" {
		t.Errorf("got %+v", f)
	}
}

func TestNearestWord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		word       string
		candidates []string
		want       string
	}{
		{"hots", []string{"host", "port"}, "host"},
		{"hsot", []string{"host", "port"}, "host"},
		{"HOST", []string{"host", "port"}, "host"},
		{"HSot", []string{"host"}, "host"},
		{"postgress", []string{"mysql", "postgres", "postgres-instance"}, "postgres"},
		{"passwrod", []string{"password", "username"}, "password"},
		{"contaniers", []string{"containers", "metadata"}, "containers"},
		{"banana", []string{"host", "port"}, ""},
		{"db", []string{"redis"}, ""},
		{"", []string{"redis"}, ""},
		{"redis", nil, ""},
		{"verylongwordindeed", []string{"verylongwordxxxxxx"}, ""},
	} {
		if got := fault.Nearest(c.word, c.candidates); got != c.want {
			t.Errorf("Nearest(%q, %v) = %q, want %q", c.word, c.candidates, got, c.want)
		}
	}
}
