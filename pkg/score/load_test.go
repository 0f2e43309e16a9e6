package score_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// in puts lines into the container of a valid workload, indented to where a container's keys stand.
func in(lines string) string {
	return "apiVersion: score.dev/v1b1\nmetadata:\n  name: demo\n  \"3\": three\nresources:\n  db: {type: postgres}\n  data: {type: volume}\n" +
		"containers:\n  side: {image: .}\n  main:\n    image: .\n" + indent(lines)
}

func indent(lines string) string {
	return "    " + strings.ReplaceAll(lines, "\n", "\n    ") + "\n"
}

// TestJudgesValues says for single values what is wrong with them; no code means valid.
func TestJudgesValues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		yaml string
		want []fault.Code
	}{
		{`variables: {A: b}`, nil},
		{`variables: {A: 1}`, []fault.Code{fault.ScoreType}},
		{`variables: {A: true}`, []fault.Code{fault.ScoreType}},
		{`variables: {A: yes, B: on, C: off, D: n}`, nil},
		{`variables: {A: TRUE}`, []fault.Code{fault.ScoreType}},
		{`variables: {A: null}`, []fault.Code{fault.ScoreType}},
		{`variables: {A: ~}`, []fault.Code{fault.ScoreType}},
		{"variables:\n  A:", []fault.Code{fault.ScoreType}},
		{`variables: {A: !!str 1}`, nil},
		{`variables: {A: ! 1}`, nil},
		{`variables: {A: !secret x}`, []fault.Code{fault.ScoreTag}},
		{`variables: {A: !!binary eA==}`, []fault.Code{fault.ScoreTag}},
		{`variables: {A: !!int x}`, []fault.Code{fault.ScoreSyntax}},
		{`variables: {A: 2024-01-01}`, nil},
		{`variables: {A: 1:30}`, nil},
		{`variables: {A: 1_000}`, []fault.Code{fault.ScoreType}},
		{`variables: {A: 1.2.3}`, nil},
		{`variables: {A: .inf}`, []fault.Code{fault.ScoreType, fault.ScoreNumber}},
		// Keys are strings in JSON, and so in the schema: a number or a boolean is none, as little as null.
		{`variables: {8080: a}`, []fault.Code{fault.ScoreKeyType}},
		{`variables: {1.5: a}`, []fault.Code{fault.ScoreKeyType}},
		{"variables:\n  true: a", []fault.Code{fault.ScoreKeyType}},
		{"variables:\n  null: a", []fault.Code{fault.ScoreKeyType}},
		{`variables: {!!int 1: a}`, []fault.Code{fault.ScoreKeyType}},
		{`variables: {"8080": a, 'true': b, !!str null: c}`, nil},
		{`variables: {yes: a, 1.2.3: b, 2024-01-01: c}`, nil},
		{`variables: {~: a}`, []fault.Code{fault.ScoreKeyType}},
		{`variables: {[a]: a}`, []fault.Code{fault.ScoreKeyType}},
		{`variables: {"a=b": c}`, []fault.Code{fault.ScoreName}},
		{`variables: {"": c}`, []fault.Code{fault.ScoreName}},
		{`variables: {A: b, A: c}`, []fault.Code{fault.ScoreDuplicateKey}},
		{`variables: [A]`, []fault.Code{fault.ScoreType}},
		{`command: []`, nil},
		{`command: x`, []fault.Code{fault.ScoreType}},
		{`command: [1]`, []fault.Code{fault.ScoreType}},
		{`args: null`, []fault.Code{fault.ScoreType}},
		{`files: {/a: {content: ""}}`, nil},
		{`files: {/a: {source: ""}}`, []fault.Code{fault.ScoreFormat}},
		{`files: {/a: {content: a, mode: 0600}}`, []fault.Code{fault.ScoreType}},
		{`files: {/a: {content: a, mode: "0600"}}`, nil},
		{`files: {/a: {content: a, mode: 0o600}}`, []fault.Code{fault.ScoreType}},
		{`files: {/a: {content: a, mode: "0888"}}`, []fault.Code{fault.ScoreFormat}},
		{`files: {/a: {content: a, source: b}}`, []fault.Code{fault.ScoreCombination}},
		{`files: {/a: {}}`, []fault.Code{fault.ScoreCombination}},
		{`files: {/a: {content: a, noExpand: "true"}}`, []fault.Code{fault.ScoreType}},
		{`files: {/a: {content: a, noExpand: yes}}`, []fault.Code{fault.ScoreType}},
		{`files: {/a: {content: a, noExpand: True}}`, nil},
		{`files: {/a: {content: a, target: /b}}`, []fault.Code{fault.ScoreUnknownKey}},
		{`files: {/a: {binaryContent: "a b"}}`, []fault.Code{fault.ScoreBase64}},
		{`files: {/a: {binaryContent: YQ}}`, []fault.Code{fault.ScoreBase64}},
		{`files: {/a: {binaryContent: _-8=}}`, []fault.Code{fault.ScoreBase64}},
		{"files:\n  /a:\n    binaryContent: |\n      YWJj\n      ZGVm", nil},
		{`files: {/a: {content: x}, /a/: {content: y}}`, []fault.Code{fault.ScoreTarget}},
		{`files: [{target: /a, content: x}]`, []fault.Code{fault.ScoreDeprecated}},
		{`files: [{content: x}]`, []fault.Code{fault.ScoreDeprecated, fault.ScoreTarget}},
		{`files: [{target: /a, content: x}, {target: /a, content: y}]`, []fault.Code{fault.ScoreDeprecated, fault.ScoreTarget}},
		{`files: {/a: {content: "${nothing}", noExpand: true}}`, nil},
		{`files: {/a: {content: "${nothing}"}}`, []fault.Code{fault.ScorePlaceholder}},
		{`volumes: {/a: {source: x}}`, nil},
		{`volumes: {/a: {}}`, []fault.Code{fault.ScoreMissing}},
		{`volumes: {/a: {source: "${resources.data}"}}`, nil},
		{`volumes: {/a: {source: "x${resources.data}"}}`, []fault.Code{fault.ScorePlaceholder}},
		{`volumes: {/a: {source: x}, /b/../a: {source: y}}`, []fault.Code{fault.ScoreTarget}},
		{`volumes: [{source: x, target: /a}, {source: x}]`, []fault.Code{fault.ScoreDeprecated, fault.ScoreTarget}},
		{"files: {/a: {content: x}}\nvolumes: {/a: {source: x}}", []fault.Code{fault.ScoreTarget}},
		{`before: {side: {ready: started}}`, nil},
		{`before: {side: {ready: Started}}`, []fault.Code{fault.ScoreChoice}},
		{`before: {side: {}}`, []fault.Code{fault.ScoreMissing}},
		{`before: {nobody: {ready: started}}`, []fault.Code{fault.ScoreBefore}},
		{`before: {main: {ready: started}}`, []fault.Code{fault.ScoreBeforeCycle}},
		{`resources: {limits: {cpu: 1}}`, []fault.Code{fault.ScoreType}},
		{`resources: {limits: {cpu: "1", memory: 10mb}}`, []fault.Code{fault.ScoreFormat}},
		{`livenessProbe: {}`, []fault.Code{fault.ScoreCombination}},
		{`livenessProbe: {exec: {command: []}}`, nil},
		{`livenessProbe: {httpGet: {path: "", port: 8080.0}}`, nil},
		{`livenessProbe: {httpGet: {path: /, port: 8080.5}}`, []fault.Code{fault.ScoreType}},
		{`livenessProbe: {httpGet: {path: /, port: "8080"}}`, []fault.Code{fault.ScoreType}},
		{`livenessProbe: {httpGet: {path: /, port: 0}}`, []fault.Code{fault.ScoreRange}},
		{`livenessProbe: {httpGet: {path: /, port: 1e3}}`, nil},
		{`livenessProbe: {httpGet: {path: /, port: 0x1F90}}`, nil},
		{`livenessProbe: {httpGet: {path: /, port: 99999999999999999999}}`, []fault.Code{fault.ScoreRange}},
		{`livenessProbe: {httpGet: {path: /, port: 80, scheme: http}}`, []fault.Code{fault.ScoreChoice}},
		{`livenessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: "a b", value: c}]}}`, []fault.Code{fault.ScoreFormat}},
		{`variables: {A: "${metadata.name} ${metadata.3}"}`, nil},
		{`variables: {A: "${metadata.nam}"}`, []fault.Code{fault.ScoreReference}},
		{`variables: {A: "${metadata.name.x}"}`, []fault.Code{fault.ScoreReference}},
		{`variables: {A: "${metadata}"}`, []fault.Code{fault.ScorePlaceholder}},
		{`variables: {A: "${}"}`, []fault.Code{fault.ScorePlaceholder}},
		{`variables: {A: "${ metadata.name }"}`, []fault.Code{fault.ScorePlaceholder}},
		{`variables: {A: "${metadata..name}"}`, []fault.Code{fault.ScorePlaceholder}},
		{`variables: {A: "${env.X}"}`, []fault.Code{fault.ScorePlaceholder}},
		{`variables: {A: "${environment.type}"}`, []fault.Code{fault.ScoreDialectEnvironment}},
		{`variables: {A: "${resources.db.outputs.host}"}`, []fault.Code{fault.ScoreDialectOutputs}},
		{`variables: {A: "${resources.db.outputs}"}`, nil},
		{`variables: {A: "${resources.db}"}`, []fault.Code{fault.ScorePlaceholder}},
		{`variables: {A: "${resources}"}`, []fault.Code{fault.ScorePlaceholder}},
		{`variables: {A: "${resources.dbb.host}"}`, []fault.Code{fault.ScoreReference}},
		{`variables: {A: "${resources.db.host"}`, []fault.Code{fault.ScoreUnclosed}},
		{`variables: {A: "$${resources.db.host"}`, nil},
		{`command: ["${nothing}"]`, nil},
		{`env: {A: 1}`, []fault.Code{fault.ScoreDialectVariables, fault.ScoreType}},
		{`ports: [{port: 80}]`, []fault.Code{fault.ScoreDialectPorts}},
		{`imagePullPolicy: Always`, []fault.Code{fault.ScoreUnknownKey}},
		{"x-more: &x {A: b}\nvariables: *x", []fault.Code{fault.ScoreUnknownKey}},
		{"variables: &x {A: b}\nfiles: {/a: {content: *y}}", []fault.Code{fault.ScoreSyntax}},
		{"variables: {<<: {A: b}, C: d}", nil},
		{"variables: {<<: x}", []fault.Code{fault.ScoreAlias}},
	} {
		workloads, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(in(c.yaml))})
		if diff := cmp.Diff(c.want, codes(faults), cmpopts.EquateEmpty(), cmpopts.SortSlices(func(a, b fault.Code) bool { return a < b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s%v", c.yaml, diff, faults)
		}
		if valid := len(faults.Errors()) == 0; valid != (len(workloads) == 1) {
			t.Errorf("%s: %d workloads with %v", c.yaml, len(workloads), faults)
		}
	}
}

func TestNamesCirclesOfContainersAndResources(t *testing.T) {
	t.Parallel()
	data := `apiVersion: score.dev/v1b1
metadata: {name: demo}
containers:
  aa: {image: ., before: {cc: {ready: started}}}
  bb: {image: ., before: {aa: {ready: healthy}}}
  cc: {image: ., before: {bb: {ready: complete}}}
resources:
  one: {type: dns, params: {x: "${resources.two.host}"}}
  two: {type: dns, params: {x: ["${resources.one.host}"]}}
  self: {type: dns, params: {x: "${resources.self.host}"}}
`
	_, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(data)})
	want := strings.Join([]string{
		"score.yaml:4:27: containers wait for each other: aa → cc → bb → aa [ORC-1104]",
		"score.yaml:8:33: resources need each other: one → two → one [ORC-1107]",
		"score.yaml:10:34: resources need each other: self → self [ORC-1107]",
	}, "\n")
	if diff := cmp.Diff(want, faults.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReturnsValidDocumentsBesideFaultyOnes(t *testing.T) {
	t.Parallel()
	doc := func(name string) string {
		return fmt.Sprintf("---\napiVersion: score.dev/v1b1\nmetadata: {name: %s}\ncontainers: {main: {image: .}}\n", name)
	}
	data := "# nothing\n" + doc("one") + "---\napiVersion: v1\nkind: ConfigMap\n" + doc("Wrong") + "---\n" + doc("two") + "---\na: [\n"
	workloads, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(data)})
	var got []string
	for _, w := range workloads {
		got = append(got, fmt.Sprint(w.Document, w.Name))
	}
	if diff := cmp.Diff([]string{"0one", "4two"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]fault.Code{fault.ScoreFormat, fault.ScoreSyntax}, codes(faults)); diff != "" {
		t.Errorf("(-want +got):\n%s%v", diff, faults)
	}
}

// TestTellsPeopleWhatIsWrong holds the text of faults, with places in all styles of strings.
func TestTellsPeopleWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"faults", "dialect"} {
		data, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		_, faults := score.Load(score.Source{Name: name + ".yaml", Data: data})
		var b strings.Builder
		if err := fault.Print(&b, faults); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", []byte(b.String()))
	}
}

// TestTellsWhereSyntaxIsWrong holds the text of syntax errors: they show the line to look at, also when the parser ran
// far beyond it.
func TestTellsWhereSyntaxIsWrong(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, data := range []string{
		"a:\n\tb: 1\n", "a: b: c\n", "a: [\n", "a: \"x\nb: c\n", "a:\n  b: 1\n c: 2\n", "a: *x\n", "a: %x\n", "a: 'x'y\n", "- a\nb: c\n",
		"a: |\nb\n", "a: \x01\n", "a: {b: c\nd: e\n", "key: value\nkey2 value\nk3: v\n", "a: \"x\n \\q\"\n", "a:\n- b\n  c: d\n",
		"<<<<<<< HEAD\na: b\n=======\n", "ü: ä\nö: [ü\n", "\ufeffa: \"ü\" b\n", "a: b\rc: [d\r", "a: \"\u2028\" b\n",
	} {
		_, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(data)})
		if err := fault.Print(&b, faults); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "syntax.txt", []byte(b.String()))
}

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/rich.yaml", "testdata/faults.yaml", "testdata/dialect.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte("metadata: {name: other}\nservice: null\n"))
	}
	f.Add([]byte(bomb(5)+minimal), []byte(mergeBomb(3)))
	f.Add([]byte(in("variables: &v {A: \"${resources.db.host}\\u0024{x}\"}\nfiles: [{target: /a, content: *v}]")), []byte("[]"))
	f.Fuzz(func(t *testing.T, data, over []byte) {
		base := score.Source{Name: "score.yaml", Data: data}
		workloads, faults := score.Load(base)
		checkLoaded(t, workloads, faults)
		checkOverridden(t, base, score.Source{Name: "over.yaml", Data: over})
		score.Detect(data)
	})
}

func checkOverridden(t *testing.T, base, over score.Source) {
	t.Helper()
	workloads, faults := score.Load(base, over)
	checkLoaded(t, workloads, faults)
}

// checkLoaded looks at what always holds: places are in the file, and a workload is the same after storing it.
func checkLoaded(t *testing.T, workloads []*score.Workload, faults fault.List) {
	t.Helper()
	for _, f := range faults {
		if f.Place.File == "" || f.Message == "" || f.Place.Line > 0 && f.Place.Column < 1 {
			t.Errorf("fault without a place: %+v", f)
		}
		f.Text()
	}
	for _, w := range workloads {
		text, err := w.Root.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var root score.Node
		if err := root.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w.Root, &root, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("stored (-want +got):\n%s", diff)
		}
		if string(root.Canonical()) != string(w.Root.Canonical()) {
			t.Error("another canonical form after storing")
		}
		for r := range w.References() {
			if r.At.Line == 0 {
				t.Errorf("reference without a place: %+v", r)
			}
		}
		w.ResourceOrder()
	}
}

func TestTheLaterOfTwoMountsIsTheFault(t *testing.T) {
	t.Parallel()
	file := in("volumes:\n  /dd: {source: \"${resources.data}\"}\nfiles:\n  /dd/: {content: x}\n  /aa/: {content: x}\n  /aa: {content: x}")
	_, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(file)},
		score.Source{Name: "score.production.yaml", Data: []byte("containers:\n  main:\n    files:\n      /dd//: {content: y}\n")})
	var got []string
	for _, f := range faults {
		got = append(got, f.Error())
	}
	want := []string{
		`score.production.yaml:4:7: the file target "/dd//" of the container main is taken in score.yaml:13 already [ORC-1105]`,
		`score.yaml:15:7: the file target "/dd/" of the container main is taken in line 13 already [ORC-1105]`,
		`score.yaml:17:7: the file target "/aa" of the container main is taken in line 16 already [ORC-1105]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
