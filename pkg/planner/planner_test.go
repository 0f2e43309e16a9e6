package planner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/score"
	"github.com/innominatus/reconciler/pkg/secret"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const production = "environments/production.yaml"

// world is what workloads of a test are planned in.
type world struct {
	t        testing.TB
	platform *platform.Platform
	keys     *secret.Keyring
	files    map[string]string
	input    func(*planner.Input)
}

// newWorld has the built-in provisioners and what the test adds to its files.
func newWorld(t testing.TB, files platform.Files) *world {
	t.Helper()
	all := platform.Files{production: "namespace: shops\ntarget: {directory: {path: out}}\nvariables: {REGION: eu, GREETING: hello}\n"}
	for name, content := range files {
		all[name] = content
	}
	p, faults := platform.Load(all)
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	return &world{t: t, platform: p, keys: keyring(t), input: func(*planner.Input) {}}
}

func keyring(t testing.TB) *secret.Keyring { return keysOf(t, 0) }

func otherKeys(t testing.TB) *secret.Keyring { return keysOf(t, 1) }

func keysOf(t testing.TB, fill byte) *secret.Keyring {
	t.Helper()
	keys, err := secret.NewKeyring(bytes.Repeat([]byte{fill}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (w *world) load(text string) *score.Workload {
	w.t.Helper()
	list, faults := score.Load(score.Source{Name: "app/score.yaml", Data: []byte(text)})
	if faults.Err() != nil || len(list) != 1 {
		w.t.Fatalf("the Score file of the test is not valid: %v", faults)
	}
	return list[0]
}

func (w *world) build(text string) (*planner.Release, fault.List) {
	w.t.Helper()
	in := planner.Input{
		Workload: w.load(text), Environment: w.platform.Environments["production"], Platform: w.platform, Secrets: w.keys,
		Source: func(path string) ([]byte, error) {
			if content, ok := w.files[path]; ok {
				return []byte(content), nil
			}
			return nil, fault.New(fault.FileMissing, "the commit has no file %s", path)
		},
	}
	w.input(&in)
	return planner.Build(in)
}

func (w *world) must(text string) *planner.Release {
	w.t.Helper()
	release, faults := w.build(text)
	if faults.Err() != nil {
		w.t.Fatal(faults)
	}
	return release
}

// refused expects exactly one fault, at the place of » in the text.
func (w *world) refused(text string) *fault.Fault {
	w.t.Helper()
	before, after, marked := strings.Cut(text, "»")
	if !marked {
		w.t.Fatal("no place is marked")
	}
	_, faults := w.build(before + after)
	if len(faults) != 1 {
		w.t.Fatalf("%d faults: %v", len(faults), faults)
	}
	want := fmt.Sprintf("app/score.yaml:%d:%d", strings.Count(before, "\n")+1, len(before)-strings.LastIndexByte(before, '\n'))
	if got := faults[0].Place.String(); got != want {
		w.t.Errorf("told at %s, want %s: %v", got, want, faults[0])
	}
	if faults[0].Excerpt == "" {
		w.t.Errorf("the line is not shown: %v", faults[0])
	}
	return faults[0]
}

// text is everything of a release and its plan that anybody can see.
func text(t testing.TB, r *planner.Release) string {
	t.Helper()
	plan := planner.NewPlan("shop", "production", "p", planner.Base{}, r)
	out, err := json.Marshal([]any{r, plan})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// workload is a Score file with one container and what follows.
func workload(name, rest string) string {
	return "apiVersion: score.dev/v1b1\nmetadata:\n  name: " + name + "\ncontainers:\n  main:\n    image: app:1\n" + rest
}

const richFile = `apiVersion: score.dev/v1b1
metadata:
  name: shop
  annotations: {bb: "2", aa: "1", cc: "3"}
service:
  ports: {web: {port: 80}, api: {port: 81}, admin: {port: 82}}
containers:
  main:
    image: app:1
    variables: {C: "${resources.db.password}", A: "${resources.db.host}", B: "x${resources.cache.password}", D: "${resources.env.REGION}"}
    files: {/b: {content: "${resources.db.password}!"}, /a: {content: a}, /c: {content: c}}
    volumes: {/data: {source: "${resources.data}"}, /more: {source: "${resources.other}"}}
  side: {image: side:1}
resources:
  db: {type: postgres}
  cache: {type: redis}
  queue: {type: amqp}
  docs: {type: mongodb}
  data: {type: volume}
  other: {type: volume}
  host: {type: dns}
  env: {type: environment}
  way: {type: route, params: {host: "${resources.host.host}", path: /, port: web}}
`

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	var first string
	for range 40 {
		w := newWorld(t, nil)
		release := w.must(richFile)
		hidden, err := json.Marshal(release.Hidden)
		if err != nil {
			t.Fatal(err)
		}
		got := text(t, release) + string(hidden)
		if first == "" {
			first = got
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestTheDigestDoesNotSeeCommentsOrderAndLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	want := w.must(workload("shop", "    variables: {A: x, B: \"y\"}\nservice: {ports: {web: {port: 80}}}\n")).Digest
	same := w.must("# a comment\n\n" + `service:
  ports:
    web:
      port: 80 # the usual one

containers:
  main:
    variables:
      B: y
      A: 'x'
    image: app:1
metadata: {"name": "shop"}
apiVersion: score.dev/v1b1
`)
	if same.Digest != want {
		t.Error("comments, order and quotes change the digest")
	}
	if w.must(workload("shop", "    variables: {A: x, B: z}\nservice: {ports: {web: {port: 80}}}\n")).Digest == want {
		t.Error("another value has the same digest")
	}
}

func TestAStoredReleaseIsTheSameRelease(t *testing.T) {
	t.Parallel()
	release := newWorld(t, nil).must(richFile)
	stored, err := json.Marshal(release)
	if err != nil {
		t.Fatal(err)
	}
	read := &planner.Release{}
	if err := json.Unmarshal(stored, read); err != nil {
		t.Fatal(err)
	}
	if plan := planner.NewPlan("shop", "production", "p", planner.Base{Generation: 1, Release: read}, release); !plan.Empty() || len(plan.Changes)+len(plan.Objects) > 0 {
		t.Errorf("nothing changed, and the plan is %+v", plan)
	}
}

func TestPlanIDDependsOnEverythingThatThePlanDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	one, two := w.must(workload("shop", "")), w.must(workload("shop", "    args: [x]\n"))
	id := func(app, environment, platform string, base planner.Base, r *planner.Release) string {
		return planner.NewPlan(app, environment, platform, base, r).ID
	}
	base := planner.Base{Generation: 1, Release: one}
	seen := map[string]string{}
	for name, id := range map[string]string{
		"plan": id("shop", "production", "p", base, two), "application": id("shop2", "production", "p", base, two),
		"environment": id("shop", "staging", "p", base, two), "platform": id("shop", "production", "q", base, two),
		"generation": id("shop", "production", "p", planner.Base{Generation: 2, Release: one}, two),
		"base":       id("shop", "production", "p", planner.Base{Generation: 1, Release: two}, two),
		"proposed":   id("shop", "production", "p", base, one), "removal": id("shop", "production", "p", base, nil),
	} {
		if other := seen[id]; other != "" {
			t.Errorf("%s and %s have the same id", name, other)
		}
		seen[id] = name
	}
	if id("shop", "production", "p", base, two) != id("shop", "production", "p", base, w.must(workload("shop", "    args: [x] # why\n"))) {
		t.Error("the same plan made again has another id")
	}
}
