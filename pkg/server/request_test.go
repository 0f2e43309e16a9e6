package server_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
)

func TestInternalErrorsAreToldByTheirRequestOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.Pool.Exec(t.Context(), "DROP TABLE runs CASCADE")
	w.must(err)
	answer := w.send(http.MethodGet, "/api/v1/runs", auth.Read, "")
	id := answer.Header().Get("X-Request-Id")
	p := w.refused(answer, http.StatusInternalServerError, fault.Internal)
	w.holds(p.Detail, "request "+id)
	if id == "" || strings.Contains(answer.Body.String(), "SQLSTATE") || strings.Contains(answer.Body.String(), "relation") {
		t.Errorf("request %q: %s", id, answer.Body)
	}
	w.holds(w.log.String(), id, "SQLSTATE 42P01", `"level":"error"`)
	_, err = w.Pool.Exec(t.Context(), "DROP TABLE tokens CASCADE")
	w.must(err)
	answer = w.send(http.MethodGet, "/api/v1/runs", auth.Read, "")
	p = w.refused(answer, http.StatusInternalServerError, fault.Internal)
	w.holds(p.Detail, answer.Header().Get("X-Request-Id"))
	w.holds(w.log.String(), answer.Header().Get("X-Request-Id"))
}

func TestReadinessTellsNothingOfTheDriver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Checks = map[string]func(context.Context) error{
		"postgres": func(context.Context) error { return errors.New("failed to connect to user=admin") },
		"platform": func(context.Context) error { return fault.New(fault.PlatformMissing, "no configuration") },
	}
	answer := w.send(http.MethodGet, "/readyz", "", "")
	if answer.Code != http.StatusServiceUnavailable || strings.Contains(answer.Body.String(), "user=admin") {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
	w.holds(answer.Body.String(), "no configuration", answer.Header().Get("X-Request-Id"))
	w.holds(w.log.String(), "user=admin", answer.Header().Get("X-Request-Id"))
}

func TestWebhooksTellNothingOfTheDriver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.Pool.Exec(t.Context(), "DROP TABLE deliveries")
	w.must(err)
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write([]byte("{}"))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhooks/gitea", strings.NewReader("{}"))
	for name, value := range map[string]string{"X-Gitea-Event": "push", "X-Gitea-Delivery": "1", "X-Gitea-Signature": hex.EncodeToString(mac.Sum(nil))} {
		r.Header.Set(name, value)
	}
	answer := w.do(r)
	p := w.refused(answer, http.StatusServiceUnavailable, fault.Internal)
	id := answer.Header().Get("X-Request-Id")
	w.holds(p.Detail, id)
	w.holds(w.log.String(), "SQLSTATE 42P01", id)
}
