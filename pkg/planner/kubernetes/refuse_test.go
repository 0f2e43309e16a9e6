package kubernetes_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner/kubernetes"
	"github.com/innominatus/reconciler/pkg/platform"
)

// refusal is a Score file in which the word at » is what is wrong.
type refusal struct {
	name, file string
	code       fault.Code
	warning    bool
	change     func(*kubernetes.Input)
}

const headOf = "apiVersion: score.dev/v1b1\nmetadata:\n  name: shop\n"

func refusals() []refusal {
	container := func(text string) string { return headOf + "containers:\n  main:\n    image: nginx:1\n" + text }
	resources := "resources:\n  data: {type: volume}\n  claim: {type: volume}\n  wrong: {type: volume}\n  nothing: {type: volume}\n" +
		"  two: {type: volume}\n  badclaim: {type: volume}\n  vault: {type: vault}\n  db: {type: db}\n"
	annotation := func(text string) string {
		return headOf + "  annotations:\n    " + text + "\ncontainers:\n  main:\n    image: nginx:1\n"
	}
	policy := func(i platform.Images) func(*kubernetes.Input) {
		return func(in *kubernetes.Input) { in.Defaults.Images = i }
	}
	long := strings.Repeat("n", 53)
	return []refusal{
		{name: "unknown kind", code: fault.RenderKind, file: annotation("»k8s.score.dev/kind: DaemonSet")},
		{name: "unknown instruction", code: fault.RenderAnnotation, warning: true, file: annotation("»k8s.score.dev/knid: StatefulSet")},
		{name: "service name without ports", code: fault.RenderAnnotation, warning: true, file: annotation("»k8s.score.dev/service-name: other")},
		{name: "service name with a digit in front", code: fault.RenderName,
			file: strings.Replace(headOf, "shop", "»0shop", 1) + "service: {ports: {web: {port: 80}}}\ncontainers: {main: {image: nginx:1}}\n"},
		{name: "service name that is none", code: fault.RenderName,
			file: strings.Replace(annotation("»k8s.score.dev/service-name: Not_A_Name"), "containers:", "service: {ports: {web: {port: 80}}}\ncontainers:", 1)},
		{name: "long name of a StatefulSet", code: fault.RenderName,
			file: "apiVersion: score.dev/v1b1\nmetadata:\n  name: »" + long + "\n  annotations: {k8s.score.dev/kind: StatefulSet}\ncontainers: {main: {image: nginx:1}}\n"},
		{name: "digit in front of a StatefulSet's name", code: fault.RenderName,
			file: "apiVersion: score.dev/v1b1\nmetadata:\n  name: »0store\n  annotations: {k8s.score.dev/kind: StatefulSet}\ncontainers: {main: {image: nginx:1}}\n"},
		{name: "variable with a name that is no ASCII", code: fault.RenderName, file: container("    variables:\n      größe: »x\n")},
		{name: "no image", code: fault.RenderImage, file: headOf + "containers:\n  main:\n    image: ».\n"},
		{name: "blank in front of the image", code: fault.RenderImage, file: headOf + "containers:\n  main:\n    image: »\" nginx:1\"\n"},
		{name: "blank in the image", code: fault.RenderImage, file: headOf + "containers:\n  main:\n    image: »nginx :1\n"},
		{name: "control character in the image", code: fault.RenderImage, file: headOf + "containers:\n  main:\n    image: »\"ng\\e[31minx\\n:1\"\n"},
		{name: "invisible character in the image", code: fault.RenderImage, file: headOf + "containers:\n  main:\n    image: »\"nginx\\u202e:1\"\n"},
		{name: "image from elsewhere", code: fault.ImagePolicy, file: headOf + "containers:\n  main:\n    image: »evil.example/nginx:1\n",
			change: policy(platform.Images{Allow: []string{"ghcr.io/acme/**"}})},
		{name: "image without digest", code: fault.ImagePolicy, file: headOf + "containers:\n  main:\n    image: »nginx:1\n",
			change: policy(platform.Images{RequireDigest: new(true)})},
		{name: "latest image", code: fault.ImagePolicy, file: headOf + "containers:\n  main:\n    image: »localhost:5000/nginx\n",
			change: policy(platform.Images{DenyLatest: new(true)})},
		{name: "complete and started at once", code: fault.RenderOrder, file: container("    before:\n      init: {ready: complete}\n") +
			"  other:\n    image: a:1\n    before:\n      »init: {ready: started}\n  init:\n    image: a:1\n"},
		{name: "probe of a container that completes", code: fault.RenderOrder, file: container("    before:\n      init: {ready: complete}\n") +
			"  »init:\n    image: a:1\n    livenessProbe: {exec: {command: [x]}}\n"},
		{name: "healthy without a probe", code: fault.RenderOrder, file: container("    before:\n      side: {ready: healthy}\n") +
			"  »side:\n    image: a:1\n"},
		{name: "relative target of a file", code: fault.RenderMount, file: container("    files:\n      »etc/a: {content: x}\n")},
		{name: "target of a file with ..", code: fault.RenderMount, file: container("    files:\n      »/etc/../a: {content: x}\n")},
		{name: "target of a file with a colon", code: fault.RenderMount, file: container("    files:\n      »/etc/a:b: {content: x}\n")},
		{name: "target of a file with a line break", code: fault.RenderMount, file: container("    files:\n      »\"/etc/a\\nb\": {content: x}\n")},
		{name: "target of a volume with a line break", code: fault.RenderMount,
			file: container("    volumes:\n      »\"/data\\n\": {source: \"${resources.data}\"}\n") + resources},
		{name: "target of a volume with a colon", code: fault.RenderMount,
			file: container("    volumes:\n      »/data:ro: {source: \"${resources.data}\"}\n") + resources},
		{name: "volume path with a line break", code: fault.RenderMount,
			file: container("    volumes:\n      »/data: {source: \"${resources.data}\", path: \"a\\nb\"}\n") + resources},
		{name: "relative target of a volume", code: fault.RenderMount,
			file: container("    volumes:\n      »data: {source: \"${resources.data}\"}\n") + resources},
		{name: "volume at the root", code: fault.RenderMount, file: container("    volumes:\n      »/: {source: \"${resources.data}\"}\n") + resources},
		{name: "volume path that leads out", code: fault.RenderMount,
			file: container("    volumes:\n      »/data: {source: \"${resources.data}\", path: ../other}\n") + resources},
		{name: "absolute volume path", code: fault.RenderMount,
			file: container("    volumes:\n      »/data: {source: \"${resources.data}\", path: /other}\n") + resources},
		{name: "two mounts at one place", code: fault.RenderMount, file: headOf + "containers:\n  »main:\n    image: nginx:1\n" +
			"    files:\n      /data: {content: x}\n      /data-b: {content: x}\n    volumes:\n      /other: {source: \"${resources.data}\"}\n" + resources,
			change: func(in *kubernetes.Input) { in.Workload.Containers[0].Volumes[0].Target = "/data/" }},
		{name: "two ports with one number", code: fault.RenderPort,
			file: headOf + "service:\n  ports:\n    aa: {port: 80}\n    »bb: {port: 80, targetPort: 81}\ncontainers: {main: {image: nginx:1}}\n"},
		{name: "two checks in a probe", code: fault.RenderProbe, warning: true,
			file: container("    »livenessProbe: {exec: {command: [x]}, httpGet: {path: /, port: 80}}\n")},
		{name: "probe without a command", code: fault.RenderProbeValue, file: container("    livenessProbe: {exec: {command: »[]}}\n")},
		{name: "empty command beside httpGet", code: fault.RenderProbeValue,
			file: container("    readinessProbe: {exec: {command: »[]}, httpGet: {path: /, port: 80}}\n")},
		{name: "probe of a host with a blank", code: fault.RenderProbeValue,
			file: container("    livenessProbe: {httpGet: {path: /, port: 80, host: »a b}}\n")},
		{name: "probe of a host with a port", code: fault.RenderProbeValue,
			file: container("    livenessProbe: {httpGet: {path: /, port: 80, host: »\"a:80\"}}\n")},
		{name: "header name with an underscore", code: fault.RenderProbeValue,
			file: container("    livenessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: »A_B, value: x}]}}\n")},
		{name: "header value with a line break", code: fault.RenderProbeValue,
			file: container("    livenessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: AB, value: »\"x\\ny\"}]}}\n")},
		{name: "request above the limit", code: fault.RenderResources,
			file: container("    resources: {limits: {cpu: 100m}, requests: {memory: 1G, cpu: »\"1\"}}\n")},
		{name: "memory that is no quantity", code: fault.RenderResources, file: container("    resources: {limits: {cpu: 100m, memory: »1K}}\n")},
		{name: "default that is no quantity", code: fault.RenderResources,
			file:   headOf + "containers:\n  »main:\n    image: nginx:1\n",
			change: func(in *kubernetes.Input) { in.Defaults.Limits.CPU = "much" }},
		{name: "unknown secret in a file", code: fault.RenderSecret,
			file: container("    files:\n      /a:\n        content: »a ${resources.vault.password}\n") + resources},
		{name: "files too large", code: fault.RenderSize,
			file: headOf + "containers:\n  »main:\n    image: nginx:1\n    files: {/a: {source: files/from-commit.txt}, /b: {content: x}}\n",
			change: func(in *kubernetes.Input) {
				in.Source = func(string, fault.Place) ([]byte, error) { return make([]byte, 1<<20), nil }
			}},
		{name: "volume that is no placeholder", code: fault.RenderVolume, file: container("    volumes:\n      /data: {source: »data}\n") + resources},
		{name: "volume of a resource that is none", code: fault.RenderVolume,
			file: container("    volumes:\n      /data: {source: »\"${resources.db}\"}\n") + resources},
		{name: "volume with an unknown field", code: fault.RenderVolume,
			file: container("    volumes:\n      /data: {source: »\"${resources.wrong}\"}\n") + resources},
		{name: "volume without a source", code: fault.RenderVolume,
			file: container("    volumes:\n      /data: {source: »\"${resources.nothing}\"}\n") + resources},
		{name: "volume with two sources", code: fault.RenderVolume,
			file: container("    volumes:\n      /data: {source: »\"${resources.two}\"}\n") + resources},
		{name: "claim on a Deployment", code: fault.RenderVolume,
			file: container("    volumes:\n      /data: {source: »\"${resources.claim}\"}\n") + resources},
		{name: "claim with an unknown field", code: fault.RenderVolume,
			file: strings.Replace(container("    volumes:\n      /data: {source: »\"${resources.badclaim}\"}\n")+resources, "  name: shop\n",
				"  name: shop\n  annotations: {k8s.score.dev/kind: StatefulSet}\n", 1)},
		{name: "unknown placeholder", code: fault.ScorePlaceholder,
			file: container("    variables:\n      A: »${resources.db.unknown}\n") + resources},
	}
}

func TestRefusesWhatKubernetesWouldAtItsPlace(t *testing.T) {
	t.Parallel()
	told := map[fault.Code]bool{}
	for _, c := range refusals() {
		told[c.code] = true
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			before, after, marked := strings.Cut(c.file, "»")
			if !marked {
				t.Fatal("no place is marked")
			}
			in := input(load(t, before+after))
			if c.change != nil {
				c.change(&in)
			}
			trees, faults := kubernetes.Render(in)
			want := fmt.Sprintf("app/score.yaml:%d:%d", strings.Count(before, "\n")+1, len(before)-strings.LastIndexByte(before, '\n'))
			if len(faults) != 1 {
				t.Fatalf("%d faults: %v", len(faults), faults)
			}
			if diff := cmp.Diff([]any{c.code, want, c.warning}, []any{faults[0].Code, faults[0].Place.String(), faults[0].Severity == fault.Warning}); diff != "" {
				t.Errorf("%v: %s", faults[0], diff)
			}
			if (trees != nil) != c.warning {
				t.Errorf("%d objects", len(trees))
			}
		})
	}
	for _, code := range fault.Codes() {
		if code >= fault.RenderKind && code <= fault.RenderProbeValue && code != fault.SecretInGit && !told[code] {
			t.Errorf("%s (%s) has no test", code, code.Entry().Title)
		}
	}
}

func TestRefusesAPodOfInitContainersOnly(t *testing.T) {
	t.Parallel()
	in := input(load(t, headOf+"containers:\n  main: {image: a:1}\n"))
	in.Workload.Containers = nil // what leads here from a file is a cycle, which pkg/score refuses
	if _, faults := kubernetes.Render(in); len(faults) != 1 || faults[0].Code != fault.RenderOrder {
		t.Errorf("faults: %v", faults)
	}
}

func TestAFileThatCannotBeReadIsAFaultAtItsSource(t *testing.T) {
	t.Parallel()
	in := input(load(t, headOf+"containers:\n  main:\n    image: a:1\n    files:\n      /a:\n        source: missing.txt\n"))
	in.Source = func(string, fault.Place) ([]byte, error) { return nil, errors.New("gone") }
	_, faults := kubernetes.Render(in)
	if len(faults) != 1 || faults[0].Place.String() != "app/score.yaml:9:17" {
		t.Errorf("faults: %v", faults)
	}
}

func TestImagePolicyKnowsRegistriesTagsAndDigests(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	allow := platform.Images{Allow: []string{"ghcr.io/acme/*", "localhost:5000/**"}}
	for _, c := range []struct {
		image  string
		policy platform.Images
		ok     bool
	}{
		{"ghcr.io/acme/shop:1", allow, true},
		{"ghcr.io/acme/shop" + digest, allow, true},
		{"ghcr.io/acme/team/shop:1", allow, false},
		{"ghcr.io/acme-evil/shop:1", allow, false},
		{"localhost:5000/a/b/c", allow, true},
		{"localhost:5000", allow, false},
		{"evil/ghcr.io/acme/shop", allow, false},
		{"nginx:1" + digest, platform.Images{RequireDigest: new(true)}, true},
		{"nginx@md5:abc", platform.Images{RequireDigest: new(true)}, false},
		{"nginx:latest", platform.Images{DenyLatest: new(true)}, false},
		{"nginx:latest" + digest, platform.Images{DenyLatest: new(true)}, true},
		{"registry:5000/nginx:1.2", platform.Images{DenyLatest: new(true)}, true},
		{"nginx", platform.Images{}, true},
	} {
		in := input(load(t, headOf+"containers:\n  main:\n    image: "+c.image+"\n"))
		in.Defaults.Images = c.policy
		if _, faults := kubernetes.Render(in); (faults.Err() == nil) != c.ok {
			t.Errorf("%s with %+v: %v", c.image, c.policy, faults)
		}
	}
}

func TestTakesTheHostsAndHeadersThatProbesCanUse(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"localhost", "a.b-c.example.", "my_service.shops", "127.0.0.1", "::1", "fe80::1%eth0", "0"} {
		text := headOf + "containers:\n  main:\n    image: a:1\n    livenessProbe:\n      httpGet: {path: /, port: 80, host: \"" + host +
			"\", httpHeaders: [{name: X-Who, value: \"größe \\t1\"}]}\n"
		if _, faults := kubernetes.Render(input(load(t, text))); faults != nil {
			t.Errorf("%s: %v", host, faults)
		}
	}
}

func TestSaysWhatToWriteInstead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, want string }{
		"kind": {headOf + "  annotations: {k8s.score.dev/kind: Job}\ncontainers: {main: {image: a:1}}\n",
			"Write Deployment or StatefulSet, or remove the annotation: without it the workload is a Deployment."},
		"variable": {headOf + "containers: {main: {image: a:1, variables: {日本: x}}}\n",
			"Choose a name that Kubernetes accepts, too; the message says what it takes."},
	} {
		_, faults := kubernetes.Render(input(load(t, c.file)))
		if len(faults) != 1 || faults[0].Advice() != c.want {
			t.Errorf("%s: %v: %q", name, faults, faults[0].Advice())
		}
	}
}
