package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/reconcile"
	"github.com/innominatus/reconciler/pkg/secret"
	"github.com/innominatus/reconciler/pkg/server"
	"github.com/innominatus/reconciler/pkg/status"
	"github.com/innominatus/reconciler/webhooks"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	// configured is the one repository of the configuration.
	configured = "shop/app"
	hookSecret = "a shared secret"
)

// world is the HTTP side on a real database with one environment and one configured repository; no job runs.
type world struct {
	testing.TB
	*server.Server
	handler http.Handler
	// tokens by scope; the one of "" is none.
	tokens map[auth.Scope]string
	log    *bytes.Buffer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	keys, err := secret.NewKeyring(bytes.Repeat([]byte{7}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, tokens: map[auth.Scope]string{}, log: &bytes.Buffer{}}
	log, tracer, pool := zerolog.New(w.log), noop.NewTracerProvider().Tracer(""), testenv.Pool(t)
	q, redactor := queue.New(pool, queue.Config{}), &secret.Redactor{}
	plans, runs, versions := &planner.Store{Keys: keys}, &apply.Store{Keys: keys}, &platform.Store{}
	r := &reconcile.Reconciler{
		Pool: pool, Queue: q, Planner: plans, Platform: versions, Runs: runs, Keys: keys, Redactor: redactor, Tracer: tracer, Log: log,
		Outbox: &status.Outbox{Pool: pool, Queue: q, Redact: redactor.Redact, Log: log},
	}
	r.Runner = &apply.Runner{Pool: pool, Queue: q, Runs: runs, Planner: plans, Redactor: &secret.Redactor{}}
	hooks := &webhooks.Receiver{
		Pool: pool, Hooks: map[string]webhooks.Hook{"gitea": {Kind: "gitea", Secret: []byte(hookSecret)}}, Fail: server.Fail, Tracer: tracer, Log: log,
	}
	hooks.Collectors()
	w.Server = &server.Server{
		Pool: pool, Queue: q, Planner: plans, Platform: versions, Runs: runs, Reconciler: r, Outbox: r.Outbox, Webhooks: hooks,
		Metrics: prometheus.NewRegistry(), Version: "test", Log: log,
		OnForge: func(forge, address string) error {
			if forge != "" && !strings.HasPrefix(address, "https://git.example/") {
				return fault.New(fault.ForgeForeign, "%s is elsewhere", address)
			}
			return nil
		},
		Watcher: &gitwatch.Watcher{Pool: pool, Queue: q, Sink: r, DefaultPaths: reconcile.DefaultPaths, Tracer: tracer, Log: log, Forge: func(string) (forge.Forge, error) { return nil, nil }},
	}
	w.handler = w.Handler()
	w.fill()
	return w
}

// fill makes the environment, the repository and the tokens.
func (w *world) fill() {
	w.Helper()
	w.must(pgx.BeginFunc(w.Context(), w.Pool, func(tx pgx.Tx) error {
		_, faults, err := w.Platform.Offer(w.Context(), tx, platform.Candidate{Source: "test", Files: platform.Files{"environments/production.yaml": "target: {directory: {path: out}}\n"}})
		return errors.Join(err, faults.Err(), w.Watcher.Configure(w.Context(), tx, []gitwatch.Repository{{
			Name: configured, URL: "https://git.example/shop/app", Branches: map[string][]string{"main": {"production"}}, Paths: reconcile.DefaultPaths, PollSeconds: 60, Origin: gitwatch.Configuration,
		}}))
	}))
	for _, scope := range auth.Scopes() {
		value, err := auth.CreateToken(w.Context(), w.Pool, string(scope), []auth.Scope{scope}, 0)
		w.must(err)
		w.tokens[scope] = value
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// send makes a request with a token's scope, "" for none, and a JSON body, "" for none.
func (w *world) send(method, path string, scope auth.Scope, body string) *httptest.ResponseRecorder {
	w.Helper()
	r := httptest.NewRequestWithContext(w.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if token := w.tokens[scope]; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.do(r)
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	return answer
}

// refused reads a problem and fails the test if it is another one or none.
func (w *world) refused(answer *httptest.ResponseRecorder, status int, code fault.Code) server.Problem {
	w.Helper()
	var p server.Problem
	if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil || answer.Header().Get("Content-Type") != "application/problem+json" {
		w.Fatalf("not a problem: %d, %q: %s", answer.Code, answer.Header().Get("Content-Type"), answer.Body)
	}
	if answer.Code != status || p.Status != status || p.Code != code || p.Detail == "" || p.Remedy == "" || p.Type != code.Link() {
		w.Errorf("got %d %+v, want %d %s", answer.Code, p, status, code)
	}
	return p
}

// holds fails the test unless a text has all the words.
func (w *world) holds(text string, words ...string) {
	w.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			w.Errorf("%q is not in: %s", word, text)
		}
	}
}
