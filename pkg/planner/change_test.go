package planner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/planner"
)

// lines writes changes as a person would read them.
func lines(changes []planner.Change) []string {
	var out []string
	for _, c := range changes {
		head := fmt.Sprintf("%s %s", c.Action, c.Part)
		if c.Stateful {
			head += " (data)"
		}
		out = append(out, head)
		out = append(out, fieldLines(c.Fields)...)
	}
	return out
}

func fieldLines(fields []planner.Field) (out []string) {
	for _, f := range fields {
		out = append(out, fmt.Sprintf("  %s %s: %s -> %s", f.Action, f.Path, f.Before, f.After))
	}
	return out
}

func TestChangesInTheWordsOfTheScoreFile(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	long := strings.Repeat("l", 300)
	base := workload("shop", "    variables: {A: one}\nresources: {db: {type: postgres}}\n")
	for name, c := range map[string]struct {
		from, to string
		want     []string
		summary  string
	}{
		"nothing":        {base, base, nil, "no changes"},
		"moved lines":    {base, "# comment\n\n" + base, nil, "no changes"},
		"first":          {"", base, []string{"create containers.main", "create resources.db"}, "+2 ~0 -0"},
		"removal":        {base, "", []string{"delete containers.main", "delete resources.db (data)"}, "+0 ~0 -2"},
		"image":          {base, strings.Replace(base, "app:1", "app:2", 1), []string{"update containers.main", "  update image: app:1 -> app:2"}, "+0 ~1 -0"},
		"new container":  {base, strings.Replace(base, "resources:", "  side: {image: side:1}\nresources:", 1), []string{"create containers.side"}, "+1 ~0 -0"},
		"variables":      {base, strings.Replace(base, "A: one", "B: two", 1), []string{"update containers.main", "  delete variables.A: one -> \"\"", "  create variables.B: \"\" -> two"}, "+1 ~0 -1"},
		"stateless gone": {workload("shop", "resources: {vol: {type: volume}}\n"), workload("shop", ""), []string{"delete resources.vol"}, "+0 ~0 -1"},
		"stateful gone":  {base, workload("shop", "    variables: {A: one}\n"), []string{"delete resources.db (data)"}, "+0 ~0 -1"},
		"another class":  {base, strings.Replace(base, "postgres}", "postgres, class: big}", 1), []string{"replace resources.db (data)", "  create class: \"\" -> big"}, "+0 ~1 -0"},
		"another id":     {base, strings.Replace(base, "postgres}", "postgres, id: main}", 1), []string{"replace resources.db (data)", "  create id: \"\" -> main"}, "+0 ~1 -0"},
		"renamed": {base, strings.Replace(base, "name: shop", "name: store", 1),
			[]string{"update metadata", "  update name: shop -> store", "replace resources.db (data)"}, "+0 ~2 -0"},
		"explicit default":  {base, strings.Replace(base, "postgres}", "postgres, class: default}", 1), []string{"update resources.db", "  create class: \"\" -> default"}, "+1 ~0 -0"},
		"a dot in a key":    {base, strings.Replace(base, "A: one", "a.b: one, A: one", 1), []string{"update containers.main", "  create variables.a\\.b: \"\" -> one"}, "+1 ~0 -0"},
		"lines":             {base, strings.Replace(base, "A: one", "A: \"x\\ny\\n\"", 1), []string{"update containers.main", "  update variables.A: one -> (2 lines)"}, "+0 ~1 -0"},
		"long":              {base, strings.Replace(base, "A: one", "A: "+long, 1), []string{"update containers.main", "  update variables.A: one -> " + long[:200] + "… (300 bytes)"}, "+0 ~1 -0"},
		"same lines":        {strings.Replace(base, "A: one", "A: \"x\\ny\"", 1), strings.Replace(base, "A: one", "A: \"x\\nz\"", 1), []string{"update containers.main", "  update variables.A: (2 lines) -> (2 lines) (changed)"}, "+0 ~1 -0"},
		"secret":            {strings.Replace(base, "A: one", "DB_PASSWORD: hunter1", 1), strings.Replace(base, "A: one", "DB_PASSWORD: hunter2", 1), []string{"update containers.main", "  update variables.DB_PASSWORD: (secret) -> (secret) (changed)"}, "+0 ~1 -0"},
		"secret reference":  {strings.Replace(base, "A: one", "TOKEN: hunter1", 1), strings.Replace(base, "A: one", "TOKEN: \"${resources.db.password}\"", 1), []string{"update containers.main", "  update variables.TOKEN: (secret) -> ${resources.db.password}"}, "+0 ~1 -0"},
		"half a reference":  {base, strings.Replace(base, "A: one", "A: one, TOKEN: \"${metadata.name}hunter2\"", 1), []string{"update containers.main", "  create variables.TOKEN: \"\" -> (secret)"}, "+1 ~0 -0"},
		"password in a URL": {base, strings.Replace(base, "A: one", "A: \"postgres://u:hunter2@db/x\"", 1), []string{"update containers.main", "  update variables.A: one -> postgres://u:(secret)@db/x"}, "+0 ~1 -0"},
		"reference in URL":  {base, strings.Replace(base, "A: one", "A: \"postgres://u:${resources.db.password}@db/x\"", 1), []string{"update containers.main", "  update variables.A: one -> postgres://u:${resources.db.password}@db/x"}, "+0 ~1 -0"},
		"secret argument":   {base, strings.Replace(base, "    variables", "    args: [--api-key=hunter2, --name=x]\n    variables", 1), []string{"update containers.main", "  create args.0: \"\" -> --api-key=(secret)", "  create args.1: \"\" -> --name=x"}, "+2 ~0 -0"},
	} {
		var from, to *planner.Release
		if c.from != "" {
			from = w.must(c.from)
		}
		if c.to != "" {
			to = w.must(c.to)
		}
		plan := planner.NewPlan("shop", "production", "p", planner.Base{Generation: 1, Release: from}, to)
		if diff := cmp.Diff(c.want, lines(plan.Changes)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got := plan.Summary.String(); got != c.summary {
			t.Errorf("%s: summary %s, want %s", name, got, c.summary)
		}
	}
}

func TestChangesPointAtBothFiles(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	from, to := w.must(workload("shop", "")), w.must("# moved\n"+strings.Replace(workload("shop", ""), "app:1", "app:2", 1))
	f := planner.Changes(from, to)[0].Fields[0]
	if diff := cmp.Diff([]string{"app/score.yaml:6:12", "app/score.yaml:7:12"}, []string{f.BeforeAt.String(), f.AfterAt.String()}); diff != "" {
		t.Error(diff)
	}
}

func TestObjectChangesNameWhatChangesAndTellNoSecret(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	base := workload("shop", "    variables: {DB_PASSWORD: hunter1}\n    files: {/a: {content: a}, /b: {content: b}}\n")
	changed := workload("shop", "    variables: {DB_PASSWORD: hunter2}\n    files: {/a: {content: a}, /c: {content: b}}\nservice: {ports: {web: {port: 80}}}\n")
	var got []string
	for _, c := range planner.ObjectChanges(w.must(base), w.must(changed)) {
		got = append(got, fmt.Sprintf("%s %s %s", c.Action, c.Kind, c.Name))
		for _, line := range fieldLines(c.Fields) {
			if strings.Contains(line, "env") || strings.Contains(line, "mountPath") {
				got = append(got, line)
			}
		}
	}
	want := []string{
		"update ConfigMap shop-main-files",
		"create Service shop",
		"update Deployment shop",
		"  update spec.template.spec.containers[main].env[DB_PASSWORD].value: (secret) -> (secret) (changed)",
		"  delete spec.template.spec.containers[main].volumeMounts[/b].mountPath: /b -> \"\"",
		"  create spec.template.spec.containers[main].volumeMounts[/c].mountPath: \"\" -> /c",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestListsWithRepeatedNamesAreComparedWhole(t *testing.T) {
	t.Parallel()
	release := func(body string) *planner.Release {
		return &planner.Release{Objects: []planner.Object{{Kind: "X", Name: "x", Body: []byte(body)}}}
	}
	changes := planner.ObjectChanges(release(`{"list":[{"name":"a","v":1},{"name":"a","v":2}]}`), release(`{"list":[{"name":"a","v":3},{"name":"a","v":2}]}`))
	if len(changes) != 1 || len(changes[0].Fields) != 1 {
		t.Errorf("got %+v", changes)
	}
}
