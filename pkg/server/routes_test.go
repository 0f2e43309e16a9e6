package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
)

func TestWhatNoRouteTakesIsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refused(w.send(http.MethodGet, "/api/v1/nope", auth.Read, ""), http.StatusNotFound, fault.NotFound)
	w.refused(w.send(http.MethodGet, "/nope", "", ""), http.StatusNotFound, fault.NotFound)
	for path, c := range map[string]struct{ method, allow string }{
		"/api/v1/runs": {http.MethodPatch, "GET, HEAD"}, "/webhooks/g": {http.MethodGet, "POST"}, "/plans": {http.MethodDelete, "GET, HEAD"},
	} {
		answer := w.send(c.method, path, auth.Admin, "")
		w.refused(answer, http.StatusMethodNotAllowed, fault.MethodUnknown)
		if got := answer.Header().Get("Allow"); got != c.allow {
			t.Errorf("%s allows %q, want %q", path, got, c.allow)
		}
	}
	for _, path := range []string{"/api/v1/nope", "/api/v1/runs", "/api/"} {
		w.refused(w.send(http.MethodPatch, path, "", ""), http.StatusUnauthorized, fault.Unauthenticated)
	}
}

func TestBrowsersGetAPageForWhatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/<nope>", nil)
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	answer := w.do(r)
	if answer.Code != http.StatusNotFound || !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/html") {
		t.Errorf("%d %s", answer.Code, answer.Header().Get("Content-Type"))
	}
	w.holds(answer.Body.String(), string(fault.NotFound), "&lt;nope&gt;")
}
