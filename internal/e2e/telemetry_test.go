//go:build e2e

package e2e

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/innominatus/reconciler/internal/testenv"
)

// receiver is an OTLP receiver that keeps the names of spans by trace.
type receiver struct {
	mu     sync.Mutex
	traces map[string]map[string]bool
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body := io.Reader(request.Body)
	if request.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(request.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	text, err := io.ReadAll(body)
	var export collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(text, &export) != nil {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range export.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				id := string(span.TraceId)
				if r.traces[id] == nil {
					r.traces[id] = map[string]bool{}
				}
				r.traces[id][span.Name] = true
			}
		}
	}
}

// whole says whether one trace holds all the spans.
func (r *receiver) whole(names ...string) (bool, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, spans := range r.traces {
		missing := 0
		for _, n := range names {
			if !spans[n] {
				missing++
			}
		}
		if missing == 0 {
			return true, ""
		}
	}
	return false, fmt.Sprint(r.traces)
}

// One webhook, one trace: the look, the plan and the run that it leads to. And every metric that should count counts.
func TestStoryIsSeenInTracesAndMetrics(t *testing.T) {
	t.Parallel()
	traces := &receiver{traces: map[string]map[string]bool{}}
	otlp := httptest.NewServer(traces)
	t.Cleanup(otlp.Close)
	w := newWorld(t, options{
		environment: directoryEnvironment, more: "telemetry: {traces: " + otlp.URL + "}\n",
		poll: "1h", // so that nothing but webhooks leads to looks
	})
	head := w.gitea.Commit(t, w.app, testenv.Change{Branch: "add", From: "main", Files: map[string]string{"score.yaml": shop("shop:1")}})
	pull := w.gitea.OpenPull(t, w.app, "add", "main", "Add the shop")
	w.waitStatus(head, "success")
	merge := w.gitea.Merge(t, w.app, pull.Number)
	w.waitDeployed("shop", merge)
	w.waitStatus(merge, "success")
	w.until("one trace from webhook to run", func() (bool, string) {
		return traces.whole("webhook", "look at repository", "evaluate branch", "run", "step deliver")
	})
	w.until("one trace from webhook to plan", func() (bool, string) {
		return traces.whole("webhook", "look at repository", "plan pull request")
	})
	metrics := w.metrics()
	for _, name := range []string{
		`reconciler_webhooks_total{forge="gitea",outcome="accepted"}`, `reconciler_looks_total{outcome="ok"}`,
		`reconciler_runs_total{kind="deploy",state="succeeded"}`, `reconciler_run_seconds_count{kind="deploy"}`, `reconciler_writes_total`,
		`reconciler_reports_total{kind="status",outcome="sent"}`, `reconciler_reports_total{kind="comment",outcome="sent"}`,
		`go_goroutines`, `process_cpu_seconds_total`,
	} {
		if metrics[name] <= 0 {
			t.Errorf("metric %s is %v", name, metrics[name])
		}
	}
	jobs := 0.0
	for name, value := range metrics {
		if strings.HasPrefix(name, "reconciler_queue_") || strings.HasPrefix(name, "reconciler_job") {
			jobs += value
		}
	}
	if jobs == 0 {
		t.Errorf("no metric of the queue counts: %v", metrics)
	}
}

// metrics reads the server's metrics.
func (w *world) metrics() map[string]float64 {
	w.Helper()
	request, err := http.NewRequest(http.MethodGet, w.base+"/metrics", nil)
	w.must(err)
	request.Header.Set("Authorization", "Bearer "+w.token)
	response, err := http.DefaultClient.Do(request)
	w.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	w.must(err)
	out := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if ok {
			name += "}"
		} else {
			name, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = number
		}
	}
	return out
}

// Nothing is readable without a token but health, readiness and the webhooks.
func TestHostileRequestsGetNothingWithoutAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{environment: directoryEnvironment})
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/metrics": 401, "/api/v1/applications": 401, "/api/v1/openapi.json": 401, "/api/v1/tokens": 401,
		"/api/v1/nothing": 401, "/webhooks/nothing": 405,
	} {
		response, err := http.Get(w.base + path)
		w.must(err)
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, response.StatusCode, want)
		}
	}
	for _, page := range []string{"/", "/plans", "/plans/x", "/runs/1", "/revisions/a/b/c", "/applications/a/b"} {
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		response, err := client.Get(w.base + page)
		w.must(err)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusSeeOther || !strings.HasPrefix(response.Header.Get("Location"), "/login?to=") {
			t.Errorf("%s answers %d to %q, want the login page", page, response.StatusCode, response.Header.Get("Location"))
		}
	}
	for path, body := range map[string]string{
		"/applications/production/shop/hold": `{"reason": ""}`, "/applications/production/shop/rollback": `{"generation": "x"}`,
		"/plan": `{"files": {}}`, "/tokens": `not json`,
	} {
		request, err := http.NewRequest(http.MethodPost, w.base+"/api/v1"+path, strings.NewReader(body))
		w.must(err)
		request.Header.Set("Authorization", "Bearer "+w.token)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		w.must(err)
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode < 400 || response.StatusCode >= 500 || !strings.Contains(string(text), `"code":"ORC-`) || !strings.Contains(string(text), `"remedy":`) {
			t.Errorf("%s with %s answers %d: %s", path, body, response.StatusCode, text)
		}
	}
}
