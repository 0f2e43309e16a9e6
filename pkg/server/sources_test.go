package server_test

import (
	"net/http"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
)

func TestOnlyHTTPRemotesAreWatched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, url := range []string{"file:///etc", "ssh://git.example/a", "git@git.example:a/b", "ftp://git.example/a"} {
		answer := w.send(http.MethodPut, "/api/v1/repositories", auth.Admin, `{"name": "a/b", "url": "`+url+`", "branches": {"main": ["production"]}}`)
		p := w.refused(answer, http.StatusUnprocessableEntity, fault.RepositoryInvalid)
		w.holds(p.Detail, "a/b", "https://")
	}
}
