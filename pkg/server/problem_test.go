package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
)

func TestValidationNamesFieldAndReasonOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		path, body string
		status     int
		detail     string
		faults     int
	}{
		{"/tokens", `{"name": "", "scopes": ["read"], "days": 3}`, 422, "body.name: expected length >= 1", 0},
		{"/tokens", `{"scopes": ["read"], "secret": "hunter2"}`, 422, "body: expected required property name to be present, and 1 more", 2},
		{"/tokens", `{"hunter2`, 400, "body: unexpected end of JSON input", 0},
		{"/tokens", ``, 400, "request body is required", 0},
		{"/applications/production/shop/rollback", `{"generation": 1e30}`, 422, "body: generation is a number that does not fit", 0},
		{"/runs/hunter2/cancel", ``, 422, "path.id: invalid integer", 0},
	} {
		p := w.refused(w.send(http.MethodPost, "/api/v1"+c.path, auth.Admin, c.body), c.status, fault.RequestInvalid)
		if p.Detail != c.detail || len(p.Faults) != c.faults || strings.Contains(p.Detail+p.Faults.Error(), "hunter2") {
			t.Errorf("%s: got %q and %v, want %q", c.body, p.Detail, p.Faults, c.detail)
		}
	}
}
