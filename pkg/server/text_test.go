package server_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
)

func TestTextThatCannotBeStoredIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ method, path, body, names string }{
		{"GET", "/runs?environment=%00", "", "environment"},
		{"GET", "/runs?commit=%ff", "", "commit"},
		{"GET", "/applications/prod/%00", "", "name"},
		{"GET", "/applications/%ff/shop", "", "environment"},
		{"GET", "/revisions/a/b/%00", "", "commit"},
		{"GET", "/plans/%00", "", "id"},
		{"POST", "/tokens", `{"name": "\u0000", "scopes": ["read"]}`, "name"},
		{"POST", "/tokens", "{\"name\": \"\xff\", \"scopes\": [\"read\"]}", "body"},
		{"POST", "/plan", `{"repository": "\u0000", "environment": "production", "files": {}}`, "repository"},
		{"POST", "/plan", `{"repository": "a/b", "environment": "production", "files": {"\u0000": ""}}`, "files"},
		{"PUT", "/repositories", `{"name": "a/b", "url": "https://git.example/a", "branches": {"\u0000": ["production"]}}`, "branches"},
	} {
		t.Log(c.method, c.path, c.body)
		status := http.StatusUnprocessableEntity
		if c.names == "body" {
			status = http.StatusBadRequest
		}
		p := w.refused(w.send(c.method, "/api/v1"+c.path, auth.Admin, c.body), status, fault.RequestInvalid)
		w.holds(p.Detail, c.names)
	}
	session, err := auth.Login(t.Context(), w.Pool, 1)
	w.must(err)
	for _, path := range []string{"/plans/%00", "/applications/prod/%00", "/revisions/a/b/%ff"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.AddCookie(&http.Cookie{Name: "reconciler_session", Value: session})
		answer := w.do(r)
		if answer.Code != http.StatusUnprocessableEntity {
			t.Errorf("page %s answers %d", path, answer.Code)
		}
		w.holds(answer.Body.String(), string(fault.RequestInvalid))
	}
}

func TestFilesMayHoldAnything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer := w.send(http.MethodPost, "/api/v1/plan", auth.Read, preview(map[string]string{"score.yaml": shop + "\x00"}))
	if answer.Code != http.StatusOK {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
	w.holds(answer.Body.String(), string(fault.ScoreEncoding), `"file":"score.yaml"`)
}
