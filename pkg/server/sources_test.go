package server_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
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

func TestRepositoriesAreOnTheForgeThatTheyName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put := func(host string) *httptest.ResponseRecorder {
		return w.send(http.MethodPut, "/api/v1/repositories", auth.Admin, `{"name": "a/b", "forge": "gitea", "url": "https://`+host+`/a/b", "branches": {"main": ["production"]}}`)
	}
	w.refused(put("evil.example"), http.StatusUnprocessableEntity, fault.ForgeForeign)
	if _, err := gitwatch.Get(t.Context(), w.Pool, "a/b"); err == nil {
		t.Error("it is stored")
	}
	if answer := put("git.example"); answer.Code != http.StatusOK {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
}

func TestRepositoriesOfTheConfigurationAreNotChangedThroughTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put := func(name string) string {
		return `{"name": "` + name + `", "url": "https://git.example/other", "branches": {"main": ["production"]}}`
	}
	before, err := gitwatch.Get(t.Context(), w.Pool, configured)
	w.must(err)
	w.refused(w.send(http.MethodDelete, "/api/v1/repositories/"+configured, auth.Admin, ""), http.StatusConflict, fault.RepositoryConfigured)
	w.refused(w.send(http.MethodPut, "/api/v1/repositories", auth.Admin, put(configured)), http.StatusConflict, fault.RepositoryConfigured)
	after, err := gitwatch.Get(t.Context(), w.Pool, configured)
	w.must(err)
	if after.URL != before.URL || after.Origin != gitwatch.Configuration || after.RemovedAt != nil {
		t.Errorf("it is %+v", after)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		path := map[string]string{http.MethodPut: "/api/v1/repositories", http.MethodDelete: "/api/v1/repositories/shop/more"}[method]
		if answer := w.send(method, path, auth.Admin, put("shop/more")); answer.Code != http.StatusOK {
			t.Errorf("%s answers %d: %s", method, answer.Code, answer.Body)
		}
	}
	w.refused(w.send(http.MethodDelete, "/api/v1/repositories/shop/none", auth.Admin, ""), http.StatusNotFound, fault.RepositoryUnknown)
}
