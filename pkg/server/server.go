package server

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/reconcile"
	"github.com/innominatus/reconciler/pkg/status"
)

// Server has what handlers need.
type Server struct {
	Pool       *pgxpool.Pool
	Queue      *queue.Queue
	Planner    *planner.Store
	Platform   *platform.Store
	Runs       *apply.Store
	Watcher    *gitwatch.Watcher
	Reconciler *reconcile.Reconciler
	Outbox     *status.Outbox
	Webhooks   http.Handler
	Metrics    *prometheus.Registry
	// Checks are the dependencies that readiness asks, by name.
	Checks map[string]func(context.Context) error
	// OnForge refuses a forge that is not configured, and a repository's address that is not on it: credentials go nowhere
	// else.
	OnForge func(forge, address string) error
	// Version is the binary's.
	Version string
	// Secure says that browsers reach us by https, so that cookies are sent only so.
	Secure bool
	Log    zerolog.Logger

	backlogs backlogs
}

const (
	// planBodyLimit is the largest body of a request for a plan, in bytes: a working copy's Score files and what they refer
	// to. Other bodies are read up to huma's limit of 1 MiB.
	planBodyLimit = 16 << 20
	// planReadTimeout bounds the reading of such a body: slow lines take longer than huma's 5 s.
	planReadTimeout = time.Minute
	// checkTimeout bounds one question to a dependency.
	checkTimeout = 2 * time.Second
)

// Handler returns the whole HTTP side.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("POST /webhooks/{forge}", s.Webhooks)
	mux.Handle("GET /metrics", s.guard(promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{})))
	pages := templates()
	s.pages(mux, pages)
	api := http.NewServeMux()
	s.api(humago.New(api, describe(s.Version)))
	mux.Handle("/api/", s.guard(orProblem(api, Fail)))
	failed := func(w http.ResponseWriter, r *http.Request, status int, f *fault.Fault) {
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			Fail(w, r, status, f)
			return
		}
		s.show(w, pages["problem"], status, view{Title: "Problem", Data: problem(r.Context(), f)})
	}
	return s.identify(otelhttp.NewHandler(headers(orProblem(mux, failed)), "http", otelhttp.WithFilter(func(r *http.Request) bool {
		return r.URL.Path != "/healthz" && r.URL.Path != "/readyz" && r.URL.Path != "/metrics"
	})))
}

// Describe returns the OpenAPI 3.1 description of the API as JSON.
func Describe() ([]byte, error) {
	api := humago.New(http.NewServeMux(), describe("v1"))
	(&Server{}).api(api)
	return json.MarshalIndent(api.OpenAPI(), "", "  ")
}

// describe is the head of the OpenAPI description.
func describe(version string) huma.Config {
	useProblems()
	c := huma.DefaultConfig("reconciler", version)
	c.Formats = formats()
	c.OpenAPIPath = "/api/v1/openapi"
	c.DocsPath, c.SchemasPath = "", "/api/v1/schemas"
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	c.Security = []map[string][]string{{"token": {}}}
	return c
}

// schemaName names a type in the description; types of other packages have the package's name in front, so that
// planner.Release and our own Release are two.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if room := path.Base(t.PkgPath()); t.PkgPath() != "" && room != "server" && !strings.HasPrefix(strings.ToLower(name), room) {
		return strings.ToUpper(room[:1]) + room[1:] + name
	}
	return name
}

// headers are those that every answer gets: pages load nothing from elsewhere and are shown in no frame.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

type principalKey struct{}

// guard lets requests with a valid token or session through.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.who(r)
		if err != nil {
			p := failure(r.Context(), err)
			if p.Code == fault.Unauthenticated {
				w.Header().Set("WWW-Authenticate", `Bearer realm="reconciler"`)
			}
			p.write(w)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, p)))
	})
}

// who returns who makes a request: by token, or by a browser's session for reading only, so that no other site can make
// a browser change something.
func (s *Server) who(r *http.Request) (auth.Principal, error) {
	// The scheme's name is read in any case: RFC 9110, section 11.1.
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return auth.Bearer(r.Context(), s.Pool, strings.TrimSpace(token))
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		return auth.Principal{}, fault.New(fault.Unauthenticated, "no token was given")
	}
	p, err := auth.Session(r.Context(), s.Pool, cookie.Value)
	if err != nil {
		return p, err
	}
	p.Scopes = []auth.Scope{auth.Read}
	return p, nil
}

func principal(ctx context.Context) auth.Principal {
	p, _ := ctx.Value(principalKey{}).(auth.Principal)
	return p
}
