package score_test

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// load reads a file that must give one workload without faults.
func load(t *testing.T, data string, overrides ...string) *score.Workload {
	t.Helper()
	var over []score.Source
	for _, o := range overrides {
		over = append(over, score.Source{Name: "over.yaml", Data: []byte(o)})
	}
	workloads, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(data)}, over...)
	if len(workloads) != 1 || len(faults.Errors()) > 0 {
		t.Fatalf("%d workloads with %v", len(workloads), faults)
	}
	return workloads[0]
}

func at(line, column int) fault.Place {
	return fault.Place{File: "score.yaml", Line: line, Column: column}
}

// container returns the container of a name.
func container(w *score.Workload, name string) score.Container {
	for _, c := range w.Containers {
		if c.Name == name {
			return c
		}
	}
	return score.Container{}
}

func TestGivesTypedWorkloadsSortedByName(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/rich.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w := load(t, string(data))
	motd := "welcome to ${metadata.name}\nhave a nice day\n"
	want := &score.Workload{
		File: "score.yaml", Name: "orders", At: at(1, 1), NameAt: at(3, 9),
		Annotations: []score.Annotation{{Name: "example.com/Owner_Group.1", Value: "the checkout team", At: at(6, 5)}},
		Ports: []score.Port{
			{Name: "http", Port: 80, TargetPort: 8080, Protocol: "TCP", At: at(9, 5)},
			{Name: "metrics", Port: 9090, TargetPort: 9090, Protocol: "TCP", At: at(13, 5)},
		},
		Containers: []score.Container{{
			Name: "api", At: at(16, 3), Image: "registry.example.com/checkout/orders:1.4.2", ImageAt: at(17, 12),
			Command: []string{"/bin/orders", "serve"}, Args: []string{"--listen", ":8080"},
			Variables: []score.Variable{
				{Name: "DB_URL", Value: "postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}/orders", At: at(28, 15)},
				{Name: "LOG_LEVEL", Value: "info", At: at(29, 18)},
			},
			Files: []score.File{
				{Target: "/etc/orders/config.yaml", Mode: "0640", Source: "config/orders.yaml", At: at(31, 7), ContentAt: at(33, 17)},
				{Target: "/etc/orders/logo", Binary: []byte("\x89PNG\r\n\x1a\n"), At: at(38, 7), ContentAt: at(39, 24)},
				{Target: "/etc/orders/motd", Content: &motd, At: at(34, 7), ContentAt: at(35, 18)},
			},
			Volumes: []score.Volume{
				{Target: "/var/cache/orders", Source: "${resources.cache-disk}", At: at(45, 7), SourceAt: at(46, 17)},
				{Target: "/var/lib/orders", Source: "${resources.data}", Path: "/state/orders", At: at(41, 7), SourceAt: at(42, 17)},
			},
			Requests: score.Amounts{CPU: "250m", Memory: "64Mi", CPUAt: at(22, 14), MemoryAt: at(23, 17), At: at(21, 7)},
			Limits:   score.Amounts{CPU: "0.5", Memory: "256M", CPUAt: at(25, 14), MemoryAt: at(26, 17), At: at(24, 7)},
			Liveness: &score.Probe{
				At:      at(47, 5),
				HTTPGet: &score.HTTPGet{Scheme: "HTTP", Path: "/livez", Port: 8080, At: at(48, 7)},
				Exec:    &score.Exec{Command: []string{"/bin/orders", "check", "http://localhost:8080/livez"}, CommandAt: at(53, 9), At: at(51, 7)},
			},
			Readiness: &score.Probe{At: at(56, 5), HTTPGet: &score.HTTPGet{
				Host: "127.0.0.1", Scheme: "HTTP", Path: "/readyz", Port: 8080, At: at(57, 7), HostAt: at(58, 15),
				Headers: []score.Header{{Name: "X-Probe", Value: "readiness", NameAt: at(63, 17), ValueAt: at(64, 18)}},
			}},
		}, {
			Name: "migrate", At: at(65, 3), Image: ".", ImageAt: at(66, 12),
			Before: []score.Before{{Container: "api", Ready: "started", At: at(68, 7)}},
		}},
		Resources: []score.Resource{
			{Name: "cache-disk", Type: "volume", Class: "default", ID: "shared-cache-disk", At: at(84, 3), TypeAt: at(85, 11)},
			{Name: "data", Type: "volume", Class: "default", At: at(82, 3), TypeAt: at(83, 11)},
			{Name: "db", Type: "postgres", Class: "default", At: at(71, 3), TypeAt: at(77, 11), Annotations: []score.Annotation{
				{Name: "Backup-Plan", Value: "daily", At: at(74, 9)},
				{Name: "example.com/Owner_Group.1", Value: "the checkout team", At: at(75, 9)},
			}},
		},
	}
	ignore := []cmp.Option{
		cmpopts.IgnoreUnexported(score.Workload{}), cmpopts.IgnoreFields(score.Workload{}, "Root", "Metadata"),
		cmpopts.IgnoreFields(score.Resource{}, "Metadata", "Params"),
	}
	if diff := cmp.Diff(want, w, ignore...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	db, _ := w.Resource("db")
	if got := string(db.Params.Canonical()); got != `{"extensions":{"main":"pg_trgm"}}` {
		t.Errorf("params are %s", got)
	}
}

func TestKeepsAbsentAndEmptyApart(t *testing.T) {
	t.Parallel()
	w := load(t, in("command: []\nfiles: {/a: {binaryContent: ''}, /b: {content: ''}}"))
	c := container(w, "main")
	if c.Command == nil || c.Args != nil {
		t.Errorf("command %v, args %v", c.Command, c.Args)
	}
	if a, b := c.Files[0], c.Files[1]; a.Binary == nil || a.Content != nil || b.Binary != nil || b.Content == nil {
		t.Errorf("files %+v", c.Files)
	}
}

func TestReadsBothFormsOfFilesAndVolumes(t *testing.T) {
	t.Parallel()
	ignore := cmp.Options{cmpopts.IgnoreTypes(fault.Place{})}
	maps := container(load(t, in("files: {/a: {content: x, mode: '644'}, /b: {source: y}}\nvolumes: {/c: {source: z, readOnly: true}}")), "main")
	lists := container(load(t, in("files: [{target: /b, source: y}, {target: /a, content: x, mode: '644'}]\nvolumes: [{target: /c, source: z, readOnly: true}]")), "main")
	if diff := cmp.Diff(maps, lists, ignore); diff != "" {
		t.Errorf("(-maps +lists):\n%s", diff)
	}
}

func TestMergesOverridesBeforeValidation(t *testing.T) {
	t.Parallel()
	base := "apiVersion: score.dev/v1b1\nmetadata: {name: demo}\ncontainers:\n  main:\n    image: .\n    args: [a, b]\n    variables: {A: a, B: 1}\n    env: {}\nservice: {ports: {}}\n"
	over := "containers:\n  main:\n    image: shop/web:2\n    args: [c]\n    env: null\n    variables:\n      B: ${metadata.name}\n      C: x\n      D: ~\n  side: {image: ., command: null}\nservice: null\n"
	w := load(t, base, over, "metadata: {team: a}", "# nothing\n")
	want := `{"apiVersion":"score.dev/v1b1","containers":{"main":{"args":["c"],"image":"shop/web:2","variables":{"A":"a","B":"${metadata.name}","C":"x"}},"side":{"image":"."}},"metadata":{"name":"demo","team":"a"}}`
	if got := string(w.Root.Canonical()); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	c := container(w, "main")
	if c.ImageAt.String() != "over.yaml:3:12" || c.At.String() != "score.yaml:4:3" || c.Variables[1].At.String() != "over.yaml:7:10" {
		t.Errorf("places %s, %s, %s", c.ImageAt, c.At, c.Variables[1].At)
	}
}

func TestRefusesOverridesThatDoNotFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		base, over string
		want       []fault.Code
	}{
		{minimal + "---\n" + minimal, "a: b", []fault.Code{fault.ScoreOverride}},
		{minimal, "[a]", []fault.Code{fault.ScoreOverride}},
		{minimal, "metadata: {x: y}\n---\nmetadata: {x: z}\n", []fault.Code{fault.ScoreOverride}},
		{minimal, "a: [", []fault.Code{fault.ScoreSyntax}},
		{minimal, "metadata: {x: 1, x: 2}", []fault.Code{fault.ScoreDuplicateKey}},
		{minimal, "metadata: {name: X}", []fault.Code{fault.ScoreFormat}},
		{"", "metadata: {name: X}", []fault.Code{fault.ScoreNone}},
	} {
		workloads, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(c.base)}, score.Source{Name: "over.yaml", Data: []byte(c.over)})
		if diff := cmp.Diff(c.want, codes(faults)); diff != "" || len(workloads) > 0 {
			t.Errorf("%q: %d workloads (-want +got):\n%s%v", c.over, len(workloads), diff, faults)
		}
	}
}

func TestGivesEqualBytesForEqualValues(t *testing.T) {
	t.Parallel()
	a := load(t, "apiVersion: score.dev/v1b1\nmetadata: {name: demo, b: 0x10, a: 1.50, t: \"<ü\\n\\x01>\"}\ncontainers: {main: {image: .}}\n")
	b := load(t, "# other text\ncontainers:\n  main: {\"image\": '.'}\nmetadata:\n  t: \"<\\u00fc\\n\\u0001>\"\n  a: 1.5\n  b: 16\n  name: demo\napiVersion: 'score.dev/v1b1'\n")
	if got, want := string(a.Root.Canonical()), string(b.Root.Canonical()); got != want {
		t.Errorf("%s\n%s", got, want)
	}
	const want = `{"a":1.5,"b":16,"name":"demo","t":"<ü\n\u0001>"}`
	if got := string(a.Metadata.Canonical()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRestoresStoredTrees(t *testing.T) {
	t.Parallel()
	w := load(t, in("variables: {A: \"${resources.db.host}\"}"))
	text, err := w.Root.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var root score.Node
	if err := root.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.Root, &root, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, broken := range []string{"", "{}", "[]", `{"files":["a"],"root":[9,1,1,0,""]}`, `{"files":["a"],"root":[4,1,1,1,""]}`, `{"files":["a"],"root":[6,1,1,0,[["k",1,1,0]]]}`} {
		if err := new(score.Node).UnmarshalJSON([]byte(broken)); err == nil {
			t.Errorf("%s was read", broken)
		}
	}
}

func TestDetectsScoreFilesByContent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		data string
		want bool
	}{
		{minimal, true},
		{"\ufeff# note\n\n" + minimal, true},
		{"%YAML 1.2\n---\n" + minimal, true},
		{"kind: Deployment\napiVersion: apps/v1\n---\n" + minimal, true},
		{"---\n\"apiVersion\": 'score.dev/v1b1'\r\nmetadata:\r\n", true},
		{"  apiVersion:   \"score.dev/v9\"\n  containers: {}\n", true},
		{`{"metadata": {"kind": "x"}, "apiVersion": "score.dev/v1b1"}`, true},
		{"apiVersion: score.dev/v1b1\nkind: Workload\n", false},
		{"apiVersion: score.dev/v1b1\nspec: {}\n\"kind\": Workload\n", false},
		{`{"kind": "x", "apiVersion": "score.dev/v1b1"}`, false},
		{"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    apiVersion: score.dev/v1b1\n", false},
		{"a:\n  apiVersion: score.dev/v1b1\n", false},
		{"# apiVersion: score.dev/v1b1\na: b\n", false},
		{"see score.dev/ for more\n", false},
		{"{ score.dev/", false},
		{"", false},
	} {
		if got := score.Detect([]byte(c.data)); got != c.want {
			t.Errorf("%q: got %t", c.data, got)
		}
	}
}

func TestOrdersResourcesByNeed(t *testing.T) {
	t.Parallel()
	w := load(t, "apiVersion: score.dev/v1b1\nmetadata: {name: demo}\ncontainers: {main: {image: .}}\nresources:\n  aa: {type: route, params: {host: '${resources.zz.host}', x: ['${resources.mm.a} ${resources.zz.b}']}}\n  bb: {type: dns}\n  mm: {type: dns, params: {a: {b: '${resources.zz.host}'}}}\n  zz: {type: dns}\n")
	if diff := cmp.Diff([]string{"zz", "mm", "aa", "bb"}, w.ResourceOrder()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]string{"aa": {"mm", "zz"}, "mm": {"zz"}}, w.ResourceNeeds()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTypesReferencesAgainstOutputs(t *testing.T) {
	t.Parallel()
	w := load(t, in("variables:\n  A: \"x \\t ${resources.db.host} ${resources.db.hots}\"\n  B: ${resources.data.anything}\nfiles:\n  /a:\n    content: |\n      one\n        two ${resources.db.porrt.x} $${resources.db.no}\nvolumes: {/b: {source: '${resources.data}'}}"))
	faults := w.CheckReferences(func(r score.Resource) ([]string, bool) {
		return []string{"port", "host", "name"}, r.Type == "postgres"
	})
	var got []string
	for _, f := range faults {
		got = append(got, f.Error()+" "+f.Suggestion+"; "+f.Remedy)
	}
	want := []string{
		`score.yaml:13:37: ${resources.db.hots}: the resource db of type postgres has no output "hots" [ORC-1102] host; Its outputs are host, name, port.`,
		`score.yaml:19:17: ${resources.db.porrt.x}: the resource db of type postgres has no output "porrt" [ORC-1102] port; Its outputs are host, name, port.`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(faults) > 0 && faults[0].Excerpt == "" {
		t.Error("no excerpt")
	}
	none := w.CheckReferences(func(score.Resource) ([]string, bool) { return nil, true })
	if len(none) != 4 {
		t.Errorf("a type without outputs: %v", none)
	}
	var uses []score.Use
	for r := range w.References() {
		uses = append(uses, r.Use)
	}
	if !slices.Equal(uses, []score.Use{score.InVariable, score.InVariable, score.InVariable, score.InFile, score.InVolume}) {
		t.Errorf("uses %v", uses)
	}
}

func TestChecksFilesThatWorkloadsNameAsASource(t *testing.T) {
	t.Parallel()
	w := load(t, in("files: {/a: {source: app.conf}}"))
	src := score.Source{Name: "app.conf", Data: []byte("| ${resources.db.host}\n\u00fc = ${resources.db.hots} ${nothing}\n$${resources.no}")}
	refs, faults := w.CheckFile(src, "main", func(score.Resource) ([]string, bool) { return []string{"host"}, true })
	want := "app.conf:2:6: ${resources.db.hots}: the resource db of type postgres has no output \"hots\" [ORC-1102]\n" +
		"app.conf:2:27: ${nothing} begins with neither metadata nor resources [ORC-1100]"
	if diff := cmp.Diff(want, faults.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(refs) != 3 || refs[0].At.String() != "app.conf:1:3" || refs[0].Owner != "main" || refs[0].Use != score.InFile {
		t.Errorf("references %+v", refs)
	}
	if _, faults := w.CheckFile(score.Source{Name: "app.bin", Data: []byte("a\xff")}, "main", nil); len(faults) != 1 || faults[0].Code != fault.ScoreEncoding {
		t.Errorf("binary: %v", faults)
	}
}
