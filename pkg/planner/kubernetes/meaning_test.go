package kubernetes_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/innominatus/reconciler/pkg/planner/kubernetes"
)

var dependent = regexp.MustCompile(`\$\$|\$\(([^)]*)\)`)

// kubelet composes a container's variables as the kubelet does: $$ is a dollar, $(NAME) what was defined before.
func kubelet(env []corev1.EnvVar, secrets map[string]string) map[string]string {
	known := map[string]string{}
	for _, e := range env {
		if e.ValueFrom != nil {
			known[e.Name] = secrets[e.ValueFrom.SecretKeyRef.Name+"/"+e.ValueFrom.SecretKeyRef.Key]
			continue
		}
		known[e.Name] = dependent.ReplaceAllStringFunc(e.Value, func(ref string) string {
			if ref == "$$" {
				return "$"
			}
			if value, ok := known[ref[2:len(ref)-1]]; ok {
				return value
			}
			return ref
		})
	}
	return known
}

func TestVariablesReachTheContainerAsTheFileSays(t *testing.T) {
	t.Parallel()
	file := headOf + "containers:\n  main:\n    image: a:1\n    variables:\n"
	want := map[string]string{}
	for i, c := range []struct{ written, want string }{
		{"plain", "plain"},
		{"a $ b $5 $", "a $ b $5 $"},
		{"$$$$", "$$"},
		{"$$$$$$", "$$$"},
		{"${resources.db.password}", "hunter2"},
		{"x${resources.db.password}y", "xhunter2y"},
		{"$$$${metadata.name}", "$${metadata.name}"},
		{"$$$$$${metadata.name}", "$$${metadata.name}"},
		{"$$$${resources.db.password}", "$${resources.db.password}"},
		{"$$$$${resources.db.password}", "$$hunter2"},
		{"$$${resources.db.password}", "$hunter2"},
		{"$$$$ ${resources.db.password} $$$$", "$$ hunter2 $$"},
		{"$(AAA) ${resources.db.password}", "$(AAA) hunter2"},
		{"$$$$(AAA) ${resources.db.password}", "$$(AAA) hunter2"},
		{"$$$(AAA) ${resources.db.password} $", "$$(AAA) hunter2 $"},
		{"${metadata.name}${resources.db.password}${resources.db.host}", "shophunter2db.internal"},
	} {
		name := fmt.Sprintf("V%02d", i)
		file += fmt.Sprintf("      %s: %q\n", name, c.written)
		want[name] = c.want
	}
	spec := pod[corev1.PodSpec](t, render(t, file+"      AAA: shown\nresources: {db: {type: db}}\n"))
	got := kubelet(spec.Containers[0].Env, map[string]string{"db-secret/password": "hunter2"})
	maps.DeleteFunc(got, func(name, _ string) bool { return !strings.HasPrefix(name, "V") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBeforeBecomesTheOrderOfContainers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		containers string
		init, main []string
	}{
		"none":           {"aa: {image: x}\n  bb: {image: x}", nil, []string{"aa", "bb"}},
		"complete":       {"aa: {image: x, before: {zz: {ready: complete}}}\n  zz: {image: x}", []string{"zz"}, []string{"aa"}},
		"started":        {"aa: {image: x, before: {zz: {ready: started}}}\n  zz: {image: x}", []string{"zz always"}, []string{"aa"}},
		"healthy":        {"aa: {image: x, before: {zz: {ready: healthy}}}\n  zz: {image: x, livenessProbe: {exec: {command: [y]}}}", []string{"zz always startup"}, []string{"aa"}},
		"started+health": {"aa: {image: x, before: {zz: {ready: started}}}\n  bb: {image: x, before: {zz: {ready: healthy}}}\n  zz: {image: x, readinessProbe: {exec: {command: [y]}}}", []string{"zz always startup"}, []string{"aa", "bb"}},
		"chain": {"aa: {image: x, before: {bb: {ready: complete}}}\n  bb: {image: x, before: {cc: {ready: complete}}}\n  cc: {image: x, before: {dd: {ready: started}}}\n  dd: {image: x}",
			[]string{"dd always", "cc", "bb"}, []string{"aa"}},
		"diamond": {"aa: {image: x, before: {bb: {ready: complete}, cc: {ready: complete}}}\n  bb: {image: x, before: {dd: {ready: complete}}}\n  cc: {image: x, before: {dd: {ready: complete}}}\n  dd: {image: x}",
			[]string{"dd", "bb", "cc"}, []string{"aa"}},
	} {
		spec := pod[corev1.PodSpec](t, render(t, headOf+"containers:\n  "+c.containers+"\n"))
		var initial, regular []string
		for _, i := range spec.InitContainers {
			text := i.Name
			if i.RestartPolicy != nil && *i.RestartPolicy == corev1.ContainerRestartPolicyAlways {
				text += " always"
			}
			if i.StartupProbe != nil {
				text += " startup"
			}
			initial = append(initial, text)
		}
		for _, r := range spec.Containers {
			regular = append(regular, r.Name)
		}
		if diff := cmp.Diff([][]string{c.init, c.main}, [][]string{initial, regular}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAChangedFileOrSecretRollsOut(t *testing.T) {
	t.Parallel()
	file := func(content, variable string) string {
		return headOf + "containers:\n  main:\n    image: a:1\n    files: {/a: {content: \"" + content + "\"}}\n    variables: {A: \"" + variable +
			"\"}\nresources: {db: {type: db}}\n"
	}
	content := func(text string, change func(*kubernetes.Input)) string {
		in := input(load(t, text))
		if change != nil {
			change(&in)
		}
		trees, faults := kubernetes.Render(in)
		if faults.Err() != nil {
			t.Fatal(faults)
		}
		i := slices.IndexFunc(trees, func(o map[string]any) bool { return o["kind"] == "Deployment" })
		spec := trees[i]["spec"].(map[string]any)["template"].(map[string]any)["metadata"].(map[string]any)
		annotations, _ := spec["annotations"].(map[string]any)
		text, _ = annotations["reconciler.dev/content"].(string)
		return text
	}
	rotated := func(in *kubernetes.Input) {
		in.SecretValue = func(kubernetes.SecretRef) (string, bool) { return "rotated-value", true }
	}
	for name, c := range map[string]struct{ a, b string }{
		"file":             {content(file("x", ""), nil), content(file("y", ""), nil)},
		"file of a secret": {content(file("x ${resources.db.password}", ""), nil), content(file("x ${resources.db.password}", ""), rotated)},
		"whole secret":     {content(file("${resources.db.password}", ""), nil), content(file("${resources.db.password}", ""), rotated)},
		"variable":         {content(file("x", "${resources.db.password}"), nil), content(file("x", "${resources.db.password}"), rotated)},
		"mixed variable":   {content(file("x", "a${resources.db.password}"), nil), content(file("x", "a${resources.db.password}"), rotated)},
	} {
		if c.a == c.b {
			t.Errorf("%s: a change does not roll out", name)
		}
	}
	if content(headOf+"containers: {main: {image: a:1}}\n", nil) != "" {
		t.Error("a workload without files and secrets has a content hash")
	}
}

func TestDefaultsNeverContradictTheFile(t *testing.T) {
	t.Parallel()
	in := input(load(t, testFile(t, "defaults.yaml")))
	in.Defaults = everyDefault()
	trees, faults := kubernetes.Render(in)
	if faults != nil {
		t.Fatal(faults)
	}
	got := map[string]string{}
	for _, c := range pod[corev1.PodSpec](t, trees).Containers {
		got[c.Name] = fmt.Sprintf("%s/%s %s/%s", c.Resources.Requests.Cpu(), c.Resources.Limits.Cpu(), c.Resources.Requests.Memory(), c.Resources.Limits.Memory())
	}
	want := map[string]string{"nothing": "100m/1 64Mi/256Mi", "limit": "50m/50m 32Mi/32Mi", "request": "4/4 4Gi/4Gi"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnAutoscalerDecidesTheReplicas(t *testing.T) {
	t.Parallel()
	for _, scaled := range []bool{false, true} {
		in := input(load(t, headOf+"containers: {main: {image: a:1}}\n"))
		in.Defaults.Replicas, in.Scaled = new(int32(3)), scaled
		trees, _ := kubernetes.Render(in)
		if _, there := trees[0]["spec"].(map[string]any)["replicas"]; there == scaled {
			t.Errorf("scaled %v: %v", scaled, trees[0]["spec"])
		}
	}
}

func TestDoesNotHideWhatElseIsInAFilesDirectory(t *testing.T) {
	t.Parallel()
	spec := pod[corev1.PodSpec](t, render(t, headOf+"containers: {main: {image: a:1, files: {/etc/passwd: {content: x}}}}\n"))
	m := spec.Containers[0].VolumeMounts[0]
	if m.MountPath != "/etc/passwd" || m.SubPath == "" {
		t.Errorf("got %+v", m)
	}
}

func TestTwoContainersThatMountTheSameTargetShareOneVolume(t *testing.T) {
	t.Parallel()
	trees := render(t, testFile(t, "arrays.yaml"))
	spec := pod[corev1.PodSpec](t, trees)
	var names []string
	for _, v := range spec.Volumes {
		names = append(names, v.Name)
	}
	if diff := cmp.Diff([]string{"files-one", "vol-data"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestLongNamesStayValid(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 62)
	for _, tree := range render(t, "apiVersion: score.dev/v1b1\nmetadata: {name: "+long+"w}\nservice: {ports: {"+long+"p: {port: 80}}}\ncontainers:\n  "+long+
		"c:\n    image: a:1\n    files: {/"+strings.Repeat("f", 300)+": {content: x}}\n    volumes: {/v: {source: \"${resources.data}\"}}\nresources: {data: {type: volume}}\n") {
		valid(t, tree)
	}
}
