package kubernetes_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/innominatus/reconciler/pkg/planner/kubernetes"
	"github.com/innominatus/reconciler/pkg/platform"
)

var update = flag.Bool("update", false, "write golden files anew")

// everyDefault is a platform that decides everything.
func everyDefault() platform.Defaults {
	return platform.Defaults{
		Replicas: new(int32(3)),
		Requests: platform.Resources{CPU: "100m", Memory: "64Mi"}, Limits: platform.Resources{CPU: "1", Memory: "256Mi"},
		ServiceAccountToken: new(false), ImagePullSecrets: []string{"registry"},
		Security: platform.Security{
			RunAsNonRoot: new(true), RunAsUser: new(int64(1000)), RunAsGroup: new(int64(1001)), FSGroup: new(int64(1002)),
			ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false), DropCapabilities: []string{"ALL"},
			Seccomp: "RuntimeDefault",
		},
		Images: platform.Images{Allow: []string{"ghcr.io/acme/*"}, DenyLatest: new(true)},
	}
}

func TestRendersAsTheGoldenFilesShow(t *testing.T) {
	t.Parallel()
	for name, defaults := range map[string]platform.Defaults{
		"full": {}, "arrays": {}, "statefulset": {}, "minimal": {}, "defaults": everyDefault(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input(load(t, testFile(t, name+".yaml")))
			in.Defaults = defaults
			trees, faults := kubernetes.Render(in)
			if len(faults) > 0 {
				t.Fatalf("faults: %v", faults)
			}
			var text strings.Builder
			for _, tree := range trees {
				valid(t, tree)
				part, err := yaml.Marshal(tree)
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString("---\n" + string(part))
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// valid checks an object as the API server would: strictly decoded, with names that it takes.
func valid(t *testing.T, tree map[string]any) {
	t.Helper()
	check := func(what, name string, rule func(string) []string) {
		if bad := rule(name); len(bad) > 0 {
			t.Errorf("%v: %s %q: %v", tree["kind"], what, name, bad)
		}
	}
	metadata := tree["metadata"].(map[string]any)
	check("name", metadata["name"].(string), validation.IsDNS1123Subdomain)
	for key, value := range metadata["labels"].(map[string]any) {
		check("label", key, validation.IsQualifiedName)
		check("label value", value.(string), validation.IsValidLabelValue)
	}
	switch tree["kind"] {
	case "Deployment":
		validPod(t, as[appsv1.Deployment](t, tree).Spec.Template.Spec, nil)
	case "StatefulSet":
		set := as[appsv1.StatefulSet](t, tree)
		validPod(t, set.Spec.Template.Spec, set.Spec.VolumeClaimTemplates)
		check("name", set.Name+"-0123456789", validation.IsDNS1123Label)
	case "Job":
		validPod(t, as[batchv1.Job](t, tree).Spec.Template.Spec, nil)
		check("name", metadata["name"].(string), validation.IsDNS1123Label)
	case "HTTPRoute": // not of Kubernetes' own types
	case "Service":
		s := as[corev1.Service](t, tree)
		check("name", s.Name, validation.IsDNS1035Label)
		for _, p := range s.Spec.Ports {
			check("port", p.Name, validation.IsDNS1123Label)
		}
	case "ConfigMap":
		m := as[corev1.ConfigMap](t, tree)
		for key := range m.Data {
			check("key", key, validation.IsConfigMapKey)
		}
	case "Secret":
		for key := range as[corev1.Secret](t, tree).StringData {
			check("key", key, validation.IsConfigMapKey)
		}
	default:
		t.Errorf("an object of kind %v", tree["kind"])
	}
}

func validPod(t *testing.T, p corev1.PodSpec, claims []corev1.PersistentVolumeClaim) {
	t.Helper()
	volumes, names := map[string]bool{}, map[string]bool{}
	for _, v := range p.Volumes {
		if volumes[v.Name] || len(validation.IsDNS1123Label(v.Name)) > 0 {
			t.Errorf("volume %s is there twice or has no valid name", v.Name)
		}
		volumes[v.Name] = true
	}
	for _, c := range claims {
		if volumes[c.Name] || len(validation.IsDNS1123Label(c.Name)) > 0 {
			t.Errorf("claim %s is there twice or has no valid name", c.Name)
		}
		volumes[c.Name] = true
	}
	for _, c := range append(p.InitContainers, p.Containers...) {
		if names[c.Name] || len(validation.IsDNS1123Label(c.Name)) > 0 {
			t.Errorf("container %s is there twice or has no valid name", c.Name)
		}
		names[c.Name] = true
		for _, e := range c.Env {
			if bad := validation.IsRelaxedEnvVarName(e.Name); len(bad) > 0 {
				t.Errorf("variable %q: %v", e.Name, bad)
			}
		}
		targets := map[string]bool{}
		for _, m := range c.VolumeMounts {
			if targets[m.MountPath] || !volumes[m.Name] {
				t.Errorf("mount %s of %s is there twice or has no volume", m.MountPath, m.Name)
			}
			targets[m.MountPath] = true
		}
	}
}
