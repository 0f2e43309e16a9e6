package planner_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/score"
)

// corpus is a collection of public Score files and provisioners; it is not part of the project.
const corpus = "../../../shared/score-corpus"

// fromCorpus returns a file of the corpus, and skips the test if there is no corpus.
func fromCorpus(t *testing.T, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{corpus}, parts...)...))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the corpus is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const onlyTheirs = "builtInProvisioners: false\n"

// withoutCommands removes the entries of a provisioner file that run programs.
func withoutCommands(text string) string {
	entries := strings.Split("\n"+text, "\n- uri: ")
	return strings.Join(slices.DeleteFunc(entries, func(e string) bool { return strings.HasPrefix(e, "cmd://") }), "\n- uri: ")
}

func TestReadsProvisionerFilesAsTheyAre(t *testing.T) {
	t.Parallel()
	fromCorpus(t, "index.tsv")
	files, err := filepath.Glob(filepath.Join(corpus, "provisioners", "*.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		text := fromCorpus(t, "provisioners", name)
		load := func(text string) (*platform.Platform, fault.List) {
			return platform.Load(platform.Files{"x.provisioners.yaml": text, "platform.yaml": onlyTheirs, production: "target: {directory: {path: out}}\n"})
		}
		p, faults := load(text)
		if strings.Contains(text, "uri: cmd://") {
			if len(faults) != 1 || faults[0].Code != fault.ProvisionerScheme || faults[0].Place.Line == 0 {
				t.Errorf("%s: %v", name, faults)
			}
			p, faults = load(withoutCommands(text))
		}
		if len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
			continue
		}
		for _, provisioner := range p.Provisioners {
			t.Run(name+" "+provisioner.Type, func(t *testing.T) {
				t.Parallel()
				provisionsAsPromised(t, p, provisioner)
			})
		}
	}
}

// params that provisioners of a type need.
func exampleParams(kind string) string {
	switch kind {
	case "route":
		return "{host: shop.example, path: /, port: 80}"
	case "service-port":
		return "{workload: shop, port: web}"
	case "service":
		return "{name: shop}"
	case "dapr-pubsub", "dapr-state-store", "dapr-subscription":
		return "{name: main, topic: orders, pubsub: main}"
	case "horizontal-pod-autoscaler":
		return "{minReplicas: 2, maxReplicas: 5, targetCPUUtilizationPercentage: 80}"
	default:
		return ""
	}
}

// provisionsAsPromised asks for one resource and uses each output that is promised.
func provisionsAsPromised(t *testing.T, p *platform.Platform, provisioner *platform.Provisioner) {
	t.Helper()
	file := "apiVersion: score.dev/v1b1\nmetadata:\n  name: shop\nservice: {ports: {web: {port: 80, targetPort: 8080}}}\ncontainers:\n  main:\n    image: a:1\n"
	var given []string
	if params := exampleParams(provisioner.Type); params != "" {
		for param := range strings.SplitSeq(strings.Trim(params, "{}"), ", ") {
			key, _, _ := strings.Cut(param, ":")
			if provisioner.Allows(key) {
				given = append(given, param)
			}
		}
	}
	name := "it"
	if provisioner.Type == "service" {
		name = "shop" // the community's is named as the workload that it points at
	}
	resource := fmt.Sprintf("resources:\n  "+name+": {type: %s, params: {%s}}\n", provisioner.Type, strings.Join(given, ", "))
	if provisioner.Type == "volume" {
		file += "    volumes: {/data: {source: \"${resources." + name + "}\"}}\n"
	} else if len(provisioner.ExpectedOutputs) > 0 {
		file += "    variables:\n"
		for _, output := range provisioner.ExpectedOutputs {
			file += fmt.Sprintf("      V_%s: \"${resources.%s.%s}\"\n", output, name, output)
		}
	}
	w := newWorld(t, nil)
	release, faults := planner.Build(planner.Input{
		Workload: w.load(file + resource), Environment: w.platform.Environments["production"], Platform: p, Secrets: w.keys,
	})
	if strings.Contains(provisioner.Manifests, "name: redisPassword\n") {
		// A true alarm: the password stands in the Component, beside the Secret.
		if len(faults) != 1 || faults[0].Code != fault.ResourceLeak {
			t.Errorf("the leak is not told: %v", faults)
		}
		return
	}
	if len(faults) > 0 {
		t.Fatalf("%v\n%s", faults, file+resource)
	}
	seen := text(t, release)
	for _, value := range release.SecretValues() {
		if len(value) >= 8 && strings.Contains(seen, value) && !strings.HasPrefix(value, "user-") && !strings.HasPrefix(value, "vhost-") {
			t.Errorf("the secret %s is seen", value)
		}
	}
	for _, o := range release.Objects {
		if o.Kind == "Secret" && !o.HoldsSecrets() {
			t.Errorf("Secret %s is not sealed: %s", o.Name, o.Body)
		}
	}
}

func TestAConnectionStringWithAPasswordGoesThroughASecret(t *testing.T) {
	t.Parallel()
	text := withoutCommands(fromCorpus(t, "provisioners", "score-spec__score-k8s__internal__provisioners__default__zz-default.provisioners.yaml"))
	w := newWorld(t, platform.Files{"zz.provisioners.yaml": text, "platform.yaml": onlyTheirs})
	release := w.must(workload("shop", "    variables: {C: \"${resources.docs.connection}\"}\nresources: {docs: {type: mongodb}}\n"))
	for _, o := range release.Objects {
		if o.Kind == "Deployment" && !strings.Contains(string(o.Body), `{"name":"C","valueFrom":{"secretKeyRef":{"key":"docs.connection","name":"shop-outputs"}}}`) {
			t.Errorf("got %s", o.Body)
		}
	}
}

// corpusWorkload is a valid workload of the corpus.
type corpusWorkload struct {
	name string
	*score.Workload
}

func corpusWorkloads(t *testing.T) (out []corpusWorkload) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.SplitSeq(fromCorpus(t, "index.tsv"), "\n") {
		column := strings.Split(line, "\t")
		if len(column) < 5 || column[4] != "valid" || column[0] != "files" || seen[column[1]] {
			continue
		}
		seen[column[1]] = true
		list, _ := score.Load(score.Source{Name: column[1], Data: []byte(fromCorpus(t, column[0], column[1]))})
		for _, w := range list {
			out = append(out, corpusWorkload{column[1], w})
		}
	}
	return out
}

func (w *world) plan(load *score.Workload) (*planner.Release, fault.List) {
	return planner.Build(planner.Input{
		Workload: load, Environment: w.platform.Environments["production"], Platform: w.platform, Secrets: w.keys,
		Source: func(string) ([]byte, error) { return []byte("from the commit\n"), nil },
	})
}

func TestEveryWorkloadOfTheCorpusIsRenderedOrToldWhy(t *testing.T) {
	t.Parallel()
	list := corpusWorkloads(t)
	w := newWorld(t, platform.Files{"zz-golden.provisioners.yaml": fromCorpus(t, "golden-score-k8s", "golden.provisioners.yaml")})
	rendered, codes := 0, map[fault.Code]int{}
	for _, c := range list {
		release, faults := w.plan(c.Workload)
		for _, f := range faults {
			codes[f.Code]++
			if f.Place.Line == 0 || f.Place.Column == 0 || f.Place.File == "" || f.Message == "" {
				t.Errorf("%s: no place: %v", c.name, f)
			}
		}
		if (release == nil) != (faults.Err() != nil) {
			t.Errorf("%s: neither a release nor a fault", c.name)
		}
		if release != nil {
			rendered++
			again, _ := w.plan(c.Workload)
			if again.Digest != release.Digest {
				t.Errorf("%s: rendered twice, it is another release", c.name)
			}
		}
	}
	t.Logf("%d of %d workloads are rendered; faults: %v", rendered, len(list), codes)
	if len(list) < 80 || rendered < 60 {
		t.Errorf("only %d of %d workloads are rendered", rendered, len(list))
	}
}

// essence is what a rendered workload does, however it is called.
type essence struct {
	Containers map[string][]string
	Ports      []string
}

func essenceOf(trees []map[string]any) essence {
	out := essence{Containers: map[string][]string{}}
	for _, tree := range trees {
		spec, _ := tree["spec"].(map[string]any)
		switch tree["kind"] {
		case "Deployment", "StatefulSet":
			pod, _ := spec["template"].(map[string]any)["spec"].(map[string]any)
			for _, list := range []string{"initContainers", "containers"} {
				containers, _ := pod[list].([]any)
				for _, c := range containers {
					container := c.(map[string]any)
					out.Containers[fmt.Sprint(container["name"])] = describe(container)
				}
			}
		case "Service":
			ports, _ := spec["ports"].([]any)
			for _, p := range ports {
				port := p.(map[string]any)
				if fmt.Sprint(port["port"]) != "99" { // of the headless Service that score-k8s adds
					out.Ports = append(out.Ports, fmt.Sprintf("%v %v %v %v", port["name"], port["port"], port["targetPort"], port["protocol"]))
				}
			}
		}
	}
	slices.Sort(out.Ports)
	return out
}

func describe(container map[string]any) []string {
	out := []string{fmt.Sprint(container["image"], container["command"], container["args"])}
	env, _ := container["env"].([]any)
	for _, e := range env {
		name := fmt.Sprint(e.(map[string]any)["name"])
		if !strings.HasPrefix(name, "__") {
			out = append(out, name)
		}
	}
	slices.Sort(out[1:])
	return out
}

func TestRendersTheSameWorkloadsAsScoreK8s(t *testing.T) {
	t.Parallel()
	w := newWorld(t, platform.Files{"00-golden.provisioners.yaml": fromCorpus(t, "golden-score-k8s", "golden.provisioners.yaml")})
	compared := 0
	for _, c := range corpusWorkloads(t) {
		golden, err := os.ReadFile(filepath.Join(corpus, "golden-score-k8s", "files__"+strings.TrimSuffix(c.name, ".yaml")+".golden.yaml"))
		if err != nil {
			continue
		}
		release, faults := w.plan(c.Workload)
		if release == nil {
			t.Logf("%s: told instead of rendered: %v", c.name, faults)
			continue
		}
		var ours []map[string]any
		for _, o := range release.Objects {
			tree, err := release.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			if o.Resource == "" {
				ours = append(ours, tree)
			}
		}
		var theirs []map[string]any
		if err := yaml.Load(golden, &theirs, yaml.WithV3Defaults(), yaml.WithAllDocuments()); err != nil {
			t.Fatal(err)
		}
		want := essenceOf(theirs)
		if len(want.Containers) == 0 {
			continue // an empty document for a kind that score-k8s does not know
		}
		compared++
		if diff := cmp.Diff(want, essenceOf(ours)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	t.Logf("%d workloads are compared", compared)
	if compared < 30 {
		t.Errorf("only %d workloads are compared", compared)
	}
}

func TestTakingResourcesFromTheBaseChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, platform.Files{"zz-golden.provisioners.yaml": fromCorpus(t, "golden-score-k8s", "golden.provisioners.yaml")})
	taken := 0
	for _, c := range corpusWorkloads(t) {
		in := planner.Input{
			Workload: c.Workload, Environment: w.platform.Environments["production"], Platform: w.platform, Secrets: w.keys,
			Source: func(string) ([]byte, error) { return []byte("from the commit\n"), nil },
		}
		fresh, _ := planner.Build(in)
		if fresh == nil {
			continue
		}
		in.Base = fresh
		again, faults := planner.Build(in)
		if again == nil {
			t.Fatalf("%s: %v", c.name, faults)
		}
		if diff := cmp.Diff([]any{text(t, fresh), fresh.Hidden}, []any{text(t, again), again.Hidden}); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		taken += len(again.Hidden.Records)
	}
	if taken < 50 {
		t.Errorf("only %d resources were compared", taken)
	}
}
