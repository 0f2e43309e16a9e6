package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/server"
)

// route is an operation of the API's description.
type route struct {
	method, path string
	scope        auth.Scope
}

// routes returns all operations with the scope that their description names.
func routes(t *testing.T) []route {
	t.Helper()
	text, err := server.Describe()
	if err != nil {
		t.Fatal(err)
	}
	var api struct {
		Paths map[string]map[string]struct{ Description string }
	}
	if err := json.Unmarshal(text, &api); err != nil {
		t.Fatal(err)
	}
	scope := regexp.MustCompile(`^Needs the scope (\w+)\.$`)
	var out []route
	for path, methods := range api.Paths {
		for method, op := range methods {
			found := scope.FindStringSubmatch(op.Description)
			if found == nil {
				t.Fatalf("%s %s names no scope: %q", method, path, op.Description)
			}
			out = append(out, route{strings.ToUpper(method), strings.NewReplacer("{id}", "1", "{generation}", "1", "{", "", "}", "").Replace(path), auth.Scope(found[1])})
		}
	}
	if len(out) < 30 {
		t.Fatalf("only %d operations are described", len(out))
	}
	return out
}

// bodies are what operations take; others take none.
var bodies = map[string]string{
	"/api/v1/tokens": `{"name": "x", "scopes": ["read"]}`, "/api/v1/plan": `{"repository": "a/b", "environment": "production", "files": {}}`,
	"/api/v1/repositories":   `{"name": "a/b", "url": "https://git.example/a", "branches": {"main": ["production"]}}`,
	"/api/v1/runs/1/approve": `{}`, "/api/v1/runs/1/reject": `{}`,
	"/api/v1/applications/environment/name/hold":     `{"reason": "x"}`,
	"/api/v1/applications/environment/name/rollback": `{}`,
}

func TestEveryOperationNeedsATokenWithItsScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range routes(t) {
		answer := w.send(r.method, r.path, "", bodies[r.path])
		p := w.refused(answer, http.StatusUnauthorized, fault.Unauthenticated)
		if p.Detail != "no token was given" || answer.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s %s: %q", r.method, r.path, p.Detail)
		}
		for _, scope := range auth.Scopes() {
			answer := w.send(r.method, r.path, scope, bodies[r.path])
			if (auth.Principal{Scopes: []auth.Scope{scope}}).May(r.scope) {
				if answer.Code == http.StatusUnauthorized || answer.Code == http.StatusForbidden || answer.Code >= http.StatusInternalServerError {
					t.Errorf("%s %s with %s: %d %s", r.method, r.path, scope, answer.Code, answer.Body)
				}
				if answer.Code >= http.StatusBadRequest {
					var p server.Problem
					w.must(json.Unmarshal(answer.Body.Bytes(), &p))
					w.refused(answer, answer.Code, p.Code)
				}
				continue
			}
			p := w.refused(answer, http.StatusForbidden, fault.Forbidden)
			w.holds(p.Detail, string(r.scope))
		}
	}
}

// Whoever may not do something does not learn either what it takes, and makes nobody read its body.
func TestScopesAreLookedAtBeforeBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, body := range []string{"", "{}", "not json", strings.Repeat("x", 1<<20)} {
		w.refused(w.send(http.MethodPost, "/api/v1/tokens", auth.Deploy, body), http.StatusForbidden, fault.Forbidden)
	}
}

func TestTheWordBearerIsReadInAnyCase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for header, want := range map[string]int{
		"Bearer " + w.tokens[auth.Read]: http.StatusOK, "bearer " + w.tokens[auth.Read]: http.StatusOK, "BEARER  " + w.tokens[auth.Read]: http.StatusOK,
		"Bearer": http.StatusUnauthorized, "Bearer x": http.StatusUnauthorized, "Basic " + w.tokens[auth.Read]: http.StatusUnauthorized,
		w.tokens[auth.Read]: http.StatusUnauthorized, "Bearer" + w.tokens[auth.Read]: http.StatusUnauthorized,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/runs", nil)
		r.Header.Set("Authorization", header)
		if answer := w.do(r); answer.Code != want {
			t.Errorf("%q answers %d, want %d", header, answer.Code, want)
		}
	}
}

func TestPagesLeadToTheLoginWithoutASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, page := range []string{"/", "/plans", "/plans/x", "/runs/1", "/revisions/a/b/c", "/applications/a/b"} {
		answer := w.send(http.MethodGet, page, "", "")
		if answer.Code != http.StatusSeeOther || !strings.HasPrefix(answer.Header().Get("Location"), "/login?to=") {
			t.Errorf("%s answers %d to %q", page, answer.Code, answer.Header().Get("Location"))
		}
	}
	w.refused(w.send(http.MethodGet, "/metrics", "", ""), http.StatusUnauthorized, fault.Unauthenticated)
}

// Another site can make a browser send its cookie, so a session only reads.
func TestSessionsOnlyRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list, err := auth.Tokens(t.Context(), w.Pool)
	w.must(err)
	admin := list[slices.IndexFunc(list, func(token auth.Token) bool { return token.Name == string(auth.Admin) })]
	session, err := auth.Login(t.Context(), w.Pool, admin.ID)
	w.must(err)
	for _, r := range routes(t) {
		request := httptest.NewRequestWithContext(t.Context(), r.method, r.path, strings.NewReader(bodies[r.path]))
		request.AddCookie(&http.Cookie{Name: "reconciler_session", Value: session})
		answer := w.do(request)
		switch {
		case r.method != http.MethodGet:
			w.refused(answer, http.StatusUnauthorized, fault.Unauthenticated)
		case r.scope != auth.Read:
			w.refused(answer, http.StatusForbidden, fault.Forbidden)
		case answer.Code == http.StatusUnauthorized || answer.Code == http.StatusForbidden:
			t.Errorf("%s %s answers %d", r.method, r.path, answer.Code)
		}
	}
}
