package golden

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// load reads paths; each text begins with its name.
func load(t *testing.T, texts ...string) (Set, []string) {
	t.Helper()
	contents, files := map[string]string{}, map[string]string{}
	for _, text := range texts {
		name, rest, _ := strings.Cut(strings.TrimPrefix(text, "\n"), "\n")
		contents[name], files[name] = rest, "paths/"+name+".yaml"
	}
	set, faults := Load(contents, files)
	var told []string
	for _, f := range faults {
		told = append(told, fmt.Sprintf("%s: %s", f.Place, f.Message))
	}
	return set, told
}

const careful = `
careful
description: asks, deploys, looks
steps:
  - id: ask
    when: plan.delete > 0 || environment == "production"
    approval: {from: [ann, bob], count: 2, within: 1h, text: "Deploy ${application}?"}
  - id: release
    needs: [ask]
    uses: release
  - id: look
    needs: [release]
    uses: smoke
    with: {urls: ["http://a/${application}", "http://b"], tries: 2}
  - id: tell
    needs: [look]
    for_each: steps.look.answers
    http:
      method: POST
      url: http://chat/${each.key}
      body: {text: "${application} gave ${each.value}", sure: "${size(steps.ask.by) == 2}", count: "${steps.release.writes}"}
    compensate: {http: {method: DELETE, url: "http://chat/${steps.tell.id}"}}
    outputs:
      id: {type: string, value: response.body.id}
`

const smoke = `
smoke
params:
  urls: {type: array}
  tries: {type: integer, default: 3}
steps:
  - id: ask
    for_each: params.urls
    concurrency: 2
    http: {url: "http://probe/${each.value}?n=${params.tries}", expect: response.status == 200 && response.body.ok == true}
    outputs:
      answer: {type: string, value: response.body.answer}
outputs:
  answers: {type: array, value: steps.ask.answer}
`

func TestReadsAGoldenPathWithAllThatItHas(t *testing.T) {
	t.Parallel()
	set, told := load(t, careful, smoke)
	if told != nil {
		t.Fatal(told)
	}
	if err := set.Deploys("careful"); err != nil {
		t.Error(err)
	}
	p := set["careful"]
	values := Values{"application": "shop", "environment": "staging", "plan.delete": int64(0)}
	if skip, err := p.Step("ask").Skips(values); !skip || err != nil {
		t.Errorf("skips %v, %v", skip, err)
	}
	for id, given := range map[string][]map[string]any{"ask": nil, "release": {{"writes": float64(3)}}} {
		more, err := set.Done(p.Step(id), given...)
		if err != nil {
			t.Fatal(err)
		}
		values = values.With("", more)
	}
	params, err := p.Step("look").Parameters(set["smoke"], values)
	if diff := cmp.Diff(map[string]any{"urls": []any{"http://a/shop", "http://b"}, "tries": int64(2)}, params); diff != "" || err != nil {
		t.Error(diff, err)
	}
	inner := Values{}.With("params.", params)
	ask := set["smoke"].Step("ask")
	items, err := ask.Items(inner)
	if err != nil || len(items) != 2 {
		t.Fatalf("items %v, %v", items, err)
	}
	r, err := ask.HTTP.Request(inner.With("each.", items[0].Each()))
	if diff := cmp.Diff(Request{Method: "GET", URL: "http://probe/http:%2F%2Fa%2Fshop?n=2", Headers: map[string]string{}}, r); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for status, want := range map[int]bool{200: true, 500: false} {
		if ok, err := ask.HTTP.Accepts(inner, Response{Status: status, Body: map[string]any{"ok": true}}); ok != want || err != nil {
			t.Errorf("status %d: %v, %v", status, ok, err)
		}
	}
	result, err := ask.Results(inner, Response{Status: 200, Body: map[string]any{"answer": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	more, err := set.Done(ask, result, result)
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := set["smoke"].Results(inner.With("", more))
	if diff := cmp.Diff(map[string]any{"answers": []any{"x", "x"}}, outputs); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if more, err = set.Done(p.Step("look"), outputs); err != nil {
		t.Fatal(err)
	}
	tell := p.Step("tell")
	items, err = tell.Items(values.With("", more))
	if err != nil || len(items) != 2 {
		t.Fatalf("items %v, %v", items, err)
	}
	r, err = tell.HTTP.Request(values.With("each.", items[1].Each()))
	if want := `{"count":3,"sure":false,"text":"shop gave x"}`; string(r.Body) != want || r.URL != "http://chat/1" || err != nil {
		t.Errorf("%s %s, %v", r.URL, r.Body, err)
	}
	undo, err := tell.Compensate.HTTP.Request(values.With("steps.tell.", map[string]any{"id": "a/b"}))
	if undo.URL != "http://chat/a%2Fb" || err != nil {
		t.Errorf("%s, %v", undo.URL, err)
	}
}

func TestTellsWhatIsWrongWithAGoldenPathAtItsPlace(t *testing.T) {
	t.Parallel()
	step := func(rest string) string { return "a\nsteps:\n  - id: one\n    " + rest }
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                {"a\nsteps: []\n", "paths/a.yaml:1:8: 0 steps, want 1 to 100"},
		"no steps":               {"a\ndescription: x\n", "paths/a.yaml:1:1: steps is missing"},
		"unknown key":            {step("htp: {url: http://a}"), `3:5: unknown key`},
		"does nothing":           {step("when: 'true'"), "does 0 of uses, http, approval and wait, want one"},
		"does two":               {step("wait: 1s\n    uses: release"), "does 2 of uses"},
		"bad id":                 {"a\nsteps:\n  - id: One-1\n    wait: 1s", `2:9: id "One-1" must begin`},
		"two of a name":          {"a\nsteps:\n  - {id: one, wait: 1s}\n  - {id: one, wait: 1s}", "there are two steps one"},
		"needs nobody":           {step("needs: [two]\n    wait: 1s"), `3:13: there is no step "two"`},
		"circle":                 {"a\nsteps:\n  - {id: one, wait: 1s, needs: [two]}\n  - {id: two, wait: 1s, needs: [one]}", "step one needs itself, by way of two"},
		"unknown path":           {step("uses: relese"), `there is no path "relese"`},
		"circle of paths":        {step("uses: a"), "go round in a circle"},
		"when is no truth":       {step("wait: 1s\n    when: '1 + 1'"), "the expression gives integer, want boolean"},
		"when is no CEL":         {step("wait: 1s\n    when: 'environment =='"), "Syntax error"},
		"unknown name":           {step("wait: 1s\n    when: enviroment == 'x'"), "there is no enviroment here"},
		"unknown output":         {"a\nsteps:\n  - {id: one, uses: release}\n  - {id: two, needs: [one], wait: 1s, when: steps.one.writs > 1}", "there is no steps.one.writs here"},
		"output not needed":      {"a\nsteps:\n  - {id: one, uses: release}\n  - {id: two, wait: 1s, when: steps.one.writes > 1}", "there is no steps.one.writes here"},
		"output of another type": {"a\nsteps:\n  - {id: one, uses: release}\n  - {id: two, needs: [one], wait: 1s, when: steps.one.writes == 'x'}", "found no matching overload"},
		"for_each of a number":   {step("wait: 1s\n    for_each: '1'"), "for_each gives integer, want array or object"},
		"unknown each":           {step("for_each: '[1]'\n    http: {url: 'http://a/${each.valu}'}"), "there is no each.valu here"},
		"concurrency alone":      {step("wait: 1s\n    concurrency: 2"), "concurrency is for steps with for_each"},
		"too much at once":       {step("wait: 1s\n    for_each: '[1]'\n    concurrency: 21"), "concurrency is 21, want 1 to 20"},
		"retry of a wait":        {step("wait: 1s\n    retry: {attempts: 2}"), "retry and outputs are for steps with http"},
		"no attempts":            {step("http: {url: http://a}\n    retry: {attempts: 0}"), "attempts is 0, want 1 to 20"},
		"long timeout":           {step("wait: 1s\n    timeout: 1h"), "timeout is 1h0m0s, want 1s to 15m"},
		"long wait":              {step("wait: 25h"), "wait is 25h0m0s, want at most 24h"},
		"bad method":             {step("http: {url: http://a, method: get}"), `method is "get", want GET`},
		"no host":                {step("http: {url: 'ftp://a'}"), "url must begin with http:// or https://"},
		"host from outside":      {step("http: {url: 'http://${application}/x'}"), "url must begin with http:// or https:// and a host"},
		"host made longer":       {step("http: {url: 'http://a${application}'}"), "url must begin with http:// or https:// and a host"},
		"open brace":             {step("http: {url: 'http://a/${application'}"), "${ without its closing brace"},
		"expect no truth":        {step("http: {url: http://a, expect: response.status}"), "gives integer, want boolean"},
		"unknown type":           {step("http: {url: http://a}\n    outputs: {x: {type: text, value: response.body}}"), `there is no type "text"`},
		"output of wrong type":   {step("http: {url: http://a}\n    outputs: {x: {type: string, value: response.status}}"), "gives integer, want string"},
		"approvers":              {step("approval: {from: [ann], count: 2}"), "count is 2, and 1 may approve"},
		"approver twice":         {step("approval: {from: [ann, ann]}"), "ann stands here twice"},
		"approval for ever":      {step("approval: {within: 1s}"), "within is 1s, want 1m to 720h"},
		"release under when":     {step("uses: release\n    when: 'true'"), "the release takes no when"},
		"default of a param":     {"a\nparams: {n: {type: integer, default: x}}\nsteps: [{id: one, wait: 1s}]", "the default of n: it is string, want integer"},
		"unknown name in output": {"a\nsteps: [{id: one, wait: 1s}]\noutputs: {x: {type: string, value: steps.one.x}}", "there is no steps.one.x here"},
		"compensates a path":     {step("uses: release\n    compensate: {http: {url: http://a}}"), "compensate is for steps with http"},
		"secret in a URL":        {step("http: {url: 'http://a/${secrets.key}'}"), "there is no secrets.key here"},
		"secret in a question":   {step("approval: {text: '${secrets.key}'}"), "there is no secrets.key here"},
		"secret answer kept":     {step("http: {url: http://a, keep: true}\n    outputs: {x: {type: string, value: response.body, secret: true}}"), "output x of it is secret"},
		"with for nothing":       {step("wait: 1s\n    with: {a: 1}"), "with is for steps with uses"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, told := load(t, c.text)
			if len(told) != 1 || !strings.Contains(told[0], c.want) || !strings.HasPrefix(told[0], "paths/a.yaml") {
				t.Errorf("told %q, want one that has %q", told, c.want)
			}
		})
	}
}

func TestSaysWhichSecretsARequestCarries(t *testing.T) {
	t.Parallel()
	set, told := load(t, `
a
steps:
  - id: one
    http:
      url: http://a
      headers: {Authorization: "Bearer ${secrets.chat}"}
      body: {deep: [{key: "${secrets.store + '!'}"}], text: "not secrets.this", and: "$${secrets.that}"}
    compensate: {http: {url: http://a, headers: {Key: "${secrets.undo}"}}}
`)
	if told != nil {
		t.Fatal(told)
	}
	if diff := cmp.Diff([]string{"chat", "store", "undo"}, set.Secrets()); diff != "" {
		t.Error(diff)
	}
	r, err := set["a"].Step("one").HTTP.Request(Values{"secrets.chat": "c", "secrets.store": "s"})
	want := Request{Method: "GET", URL: "http://a", Headers: map[string]string{"Authorization": "Bearer c"}, Body: []byte(`{"and":"${secrets.that}","deep":[{"key":"s!"}],"text":"not secrets.this"}`)}
	if diff := cmp.Diff(want, r); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestChecksWhatAPathGivesToAnother(t *testing.T) {
	t.Parallel()
	user := func(rest string) string { return "user\nsteps:\n  - id: one\n    uses: smoke\n    " + rest }
	for rest, want := range map[string]string{
		"with: {urls: [a]}":                              "",
		"with: {urls: [a], tries: 2}":                    "",
		"with: {url: [a]}":                               `path smoke has no param "url"`,
		"with: {tries: 1}":                               "path smoke needs the param urls",
		"with: {urls: a}":                                "urls is string, want array",
		"with: {urls: [a], tries: '${environment}'}":     "tries is string, want integer",
		"with: {urls: [a], tries: '${size(commit)}'}":    "",
		"with: {urls: [a], tries: '${size(comit)}'}":     "there is no comit here",
		"with: {urls: ['${environment}', {b: 1}, null]}": "",
	} {
		_, told := load(t, user(rest), smoke)
		if (want == "") != (told == nil) || want != "" && !strings.Contains(told[0], want) {
			t.Errorf("%s: %q, want %q", rest, told, want)
		}
	}
}

func TestAPathOfAnEnvironmentDeploysOnce(t *testing.T) {
	t.Parallel()
	set, told := load(t, "no\nsteps: [{id: a, wait: 1s}]", "twice\nsteps: [{id: a, uses: release}, {id: b, uses: once}]",
		"once\nsteps: [{id: a, uses: release}]", "deep\nsteps: [{id: a, uses: once}]", "maybe\nsteps: [{id: a, uses: once, when: plan.delete > 0}]")
	if told != nil {
		t.Fatal(told)
	}
	for name, want := range map[string]string{
		"once": "", "deep": "", "no": "0 times", "twice": "2 times", "maybe": "under when or for_each", "dep": `no path "dep"`,
	} {
		err := set.Deploys(name)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestValuesFromOutsideAreOfTheirTypeOrRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind string
		give any
		want any
	}{
		{"integer", 3.0, int64(3)}, {"integer", 3.5, nil}, {"number", 3, 3.0}, {"string", "a", "a"}, {"string", nil, nil}, {"boolean", "true", nil},
		{"array", []any{1}, []any{int64(1)}}, {"object", map[string]any{"a": 1}, map[string]any{"a": int64(1)}}, {"object", []any{}, nil},
	} {
		got, err := (kind{name: c.kind}).fit(c.give)
		if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.want != nil) {
			t.Errorf("%v as %s: %s, %v", c.give, c.kind, diff, err)
		}
	}
}

func TestATextKeepsWhatLooksLikeAnExpression(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"$${a} ${n}": "${a} 7", "${n}": int64(7), "a ${{'x': {'y': n}}['x']['y']} b": "a 7 b", "${'}' + \"{\"}": "}{", "": "",
	} {
		v, err := names{"n": {name: "integer"}}.template(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := v.evaluate(Values{"n": int64(7)}); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func FuzzLoadsAnything(f *testing.F) {
	for _, text := range []string{careful, smoke, "a\nsteps: [{id: a, wait: 1s}]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, faults := Load(map[string]string{"a": text}, map[string]string{"a": "a.yaml"})
		if faults.Err() == nil && set["a"] == nil {
			t.Error("neither a path nor a fault")
		}
	})
}
