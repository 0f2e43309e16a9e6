// Package charts tests the charts with the tools that read them.
package charts

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
)

const alerts = "reconciler/files/alerts.yaml"

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestAlertsFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	t.Parallel()
	promtool := testenv.Tool(t, "usr/bin/promtool")
	run(t, promtool, "check", "rules", alerts)
	run(t, promtool, "test", "rules", "reconciler/tests/alerts.yaml")
}

func TestAlertsAskForMetricsThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	descriptions := make(chan *prometheus.Desc, 100)
	for _, c := range queue.New(nil, queue.Config{}).Collectors() {
		c.Describe(descriptions)
	}
	close(descriptions)
	for d := range descriptions {
		known[regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	asked := regexp.MustCompile(`reconciler_\w+`).FindAllString(string(text), -1)
	if len(asked) < 7 {
		t.Errorf("only %v are asked for", asked)
	}
	for _, name := range asked {
		if !known[name] {
			t.Errorf("there is no metric %s", name)
		}
	}
}

func TestTheChartIsValidWithAlertsAndWithout(t *testing.T) {
	t.Parallel()
	const helm = "../bin/helm"
	if _, err := os.Stat(helm); err != nil {
		t.Fatalf("run tools/setup.sh: %v", err)
	}
	run(t, helm, "lint", "--strict", "reconciler")
	for enabled, want := range map[string]bool{"true": true, "false": false} {
		out := run(t, helm, "template", "our", "reconciler", "--set", "alerts.enabled="+enabled, "--set", "alerts.labels.release=prometheus")
		if got := strings.Contains(out, "name: our-alerts") && strings.Contains(out, "release: prometheus") && strings.Contains(out, "alert: ReconcilerNobodyClaims"); got != want {
			t.Errorf("alerts.enabled=%s gives\n%s", enabled, out)
		}
	}
}
