package server_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/reconcile"
	"github.com/innominatus/reconciler/pkg/server"
)

func TestInvalidFilesOfTheNewestCommitAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sql := range []string{
		`INSERT INTO refs (repository, name, commit) VALUES ('shop/app', 'main', 'c2'), ('shop/app', 'left', 'c1')`,
		`INSERT INTO evaluations (repository, commit, environment, ref, generation, created_at, outcome) VALUES
('shop/app', 'c1', 'production', 'main', 1, '2026-01-01', '[{"path": "a", "faults": [{"code": "ORC-1012"}]}, {"path": "b", "faults": [{"code": "ORC-1012"}]}]'),
('shop/app', 'c2', 'production', 'main', 2, '2026-01-02', '[{"path": "a", "faults": [{"code": "ORC-1012", "message": "bad"}]}, {"path": "b", "faults": [{"code": "ORC-4108", "severity": "warning"}]}]')`,
	} {
		_, err := w.Pool.Exec(t.Context(), sql)
		w.must(err)
	}
	var repositories []server.Repository
	w.must(json.Unmarshal(w.send(http.MethodGet, "/api/v1/repositories", auth.Read, "").Body.Bytes(), &repositories))
	if len(repositories) != 1 || repositories[0].InvalidFiles != 1 {
		t.Errorf("%+v", repositories)
	}
	var list []reconcile.Summary
	w.must(json.Unmarshal(w.send(http.MethodGet, "/api/v1/revisions/shop/app?limit=1", auth.Read, "").Body.Bytes(), &list))
	if len(list) != 1 || list[0].Commit != "c2" || list[0].Applications != 2 || list[0].Invalid != 1 {
		t.Errorf("%+v", list)
	}
	one := w.send(http.MethodGet, "/api/v1/revisions/shop/app/c2", auth.Read, "").Body.String()
	w.holds(one, `"severity":"error"`, fault.ScoreUnknownKey.Link(), `"remedy":"`+fault.ScoreUnknownKey.Entry().Remedy)
	w.refused(w.send(http.MethodGet, "/api/v1/revisions/shop/none", auth.Read, ""), http.StatusNotFound, fault.RepositoryUnknown)
}
