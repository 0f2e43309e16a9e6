package kubernetes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/secret"
)

func TestBuiltInProvisionersGiveWhatTheyPromiseForNamesOfAnyLength(t *testing.T) {
	t.Parallel()
	for _, workload := range []string{"ab", "0digit", strings.Repeat("w", 63), strings.Repeat("w", 29) + "-" + strings.Repeat("v", 33)} {
		p, faults := platform.Load(platform.Files{"environments/production.yaml": "namespace: shops\ntarget: {directory: {path: out}}\n"})
		if faults.Err() != nil {
			t.Fatal(faults)
		}
		for _, provisioner := range p.Provisioners {
			kind := provisioner.Type
			if workload == "0digit" && (kind == "route" || kind == "service-port") {
				continue // such a workload has no Service
			}
			t.Run(kind+" of "+workload, func(t *testing.T) {
				t.Parallel()
				builtInGives(t, p, workload, provisioner)
			})
		}
	}
}

func builtInGives(t *testing.T, p *platform.Platform, workload string, provisioner *platform.Provisioner) {
	t.Helper()
	file := "apiVersion: score.dev/v1b1\nmetadata:\n  name: " + workload + "\ncontainers:\n  main:\n    image: a:1\n    variables:\n      A: b\n"
	params := map[string]string{
		"route":        ", params: {host: \"*.shop.example\", path: /a b, port: web}",
		"service-port": ", params: {workload: " + workload + ", port: web}",
	}[provisioner.Type]
	if provisioner.Type != "volume" {
		for _, output := range provisioner.ExpectedOutputs {
			file += fmt.Sprintf("      V_%s: \"x ${resources.it.%s}\"\n", output, output)
		}
	}
	if params != "" {
		file += "service: {ports: {web: {port: 80, targetPort: 8080}}}\n"
	}
	keys, err := secret.NewKeyring(bytes.Repeat([]byte{1}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	release, faults := planner.Build(planner.Input{
		Workload: load(t, file+"resources: {it: {type: "+provisioner.Type+params+"}}\n"), Environment: p.Environments["production"], Platform: p, Secrets: keys,
	})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	names := map[string]bool{}
	for _, o := range release.Objects {
		tree, err := release.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if names[o.Key()] {
			t.Errorf("%s is there twice", o.Key())
		}
		names[o.Key()] = true
		valid(t, tree)
	}
	seen, err := json.Marshal([]any{release, planner.NewPlan("a", "production", "p", planner.Base{}, release)})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range release.SecretValues() {
		if strings.Contains(string(seen), value) {
			t.Errorf("the secret %s is seen", value)
		}
	}
}
