package planner_test

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"

	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/score"
	"github.com/innominatus/reconciler/pkg/secret"
)

// workloads is how many are planned: with 4 resources and 10 objects each, 400 resources and 1,000 objects.
const workloads = 100

func benchmarkFile(i int, image string) score.Source {
	return score.Source{Name: fmt.Sprintf("app%d/score.yaml", i), Data: []byte(fmt.Sprintf(`apiVersion: score.dev/v1b1
metadata:
  name: app%d
service:
  ports:
    web: {port: 80, targetPort: 8080}
containers:
  main:
    image: %s
    variables:
      DATABASE: postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}/${resources.db.name}
      CACHE: ${resources.cache.host}:${resources.cache.port}
    files:
      /etc/app/settings.ini:
        content: |
          name = ${metadata.name}
    resources:
      limits: {memory: 256Mi, cpu: 500m}
    readinessProbe:
      httpGet: {path: /ready, port: 8080}
resources:
  db: {type: postgres}
  cache: {type: redis}
  host: {type: dns}
  way: {type: route, params: {host: "${resources.host.host}", path: /, port: web}}
`, i, image))}
}

// BenchmarkPlanFromStoredState plans 100 applications whose releases are stored: it reads the Score files and the stored
// releases, builds the new ones and compares.
func BenchmarkPlanFromStoredState(b *testing.B) {
	p, faults := platform.Load(platform.Files{"environments/production.yaml": "target: {directory: {path: out}}\n"})
	if faults.Err() != nil {
		b.Fatal(faults)
	}
	keys, err := secret.NewKeyring(make([]byte, secret.KeySize))
	if err != nil {
		b.Fatal(err)
	}
	services := map[string]recipe.Service{}
	for i := range workloads {
		name := fmt.Sprintf("app%d", i)
		port := recipe.Port{Name: "web", Port: 80, TargetPort: 8080, Protocol: "TCP"}
		services[name] = recipe.Service{ServiceName: name, Ports: map[string]recipe.Port{"web": port, "80": port}}
	}
	build := func(i int, image string, base *planner.Release) *planner.Release {
		loaded, faults := score.Load(benchmarkFile(i, image))
		if faults.Err() != nil {
			b.Fatal(faults)
		}
		release, faults := planner.Build(planner.Input{
			Workload: loaded[0], Environment: p.Environments["production"], Platform: p, Secrets: keys, Services: services, Base: base,
		})
		if faults.Err() != nil {
			b.Fatal(faults)
		}
		return release
	}
	var stored, hidden [workloads][]byte
	objects := 0
	for i := range stored {
		release := build(i, "app:1", nil)
		objects += len(release.Objects)
		if stored[i], err = json.Marshal(release); err != nil {
			b.Fatal(err)
		}
		text, err := json.Marshal(release.Hidden)
		if err != nil {
			b.Fatal(err)
		}
		hidden[i] = keys.Seal(text, "benchmark")
	}
	if objects != 10*workloads {
		b.Fatalf("%d objects, want %d", objects, 10*workloads)
	}
	before := cpuTime(b)
	for b.Loop() {
		for i := range stored {
			base := &planner.Release{}
			if err := json.Unmarshal(stored[i], base); err != nil {
				b.Fatal(err)
			}
			text, err := keys.Open(hidden[i], "benchmark")
			if err != nil {
				b.Fatal(err)
			}
			if err := json.Unmarshal(text, &base.Hidden); err != nil {
				b.Fatal(err)
			}
			plan := planner.NewPlan("app", "production", p.Digest, planner.Base{Generation: 1, Release: base}, build(i, "app:2", base))
			if plan.Summary.Update != 1 {
				b.Fatalf("the plan is %s", plan.Summary)
			}
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
}

// cpuTime is what this process has used, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
