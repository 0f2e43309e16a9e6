package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
)

func TestARunIsFollowedUntilItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sql := range []string{
		`INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit) VALUES (1, 'production', 'shop', 'a/b', 1, 'deploy', 'running', 'p', 'c')`,
		`INSERT INTO run_logs (run, step, message) VALUES (1, 'deliver', 'one'), (1, 'deliver', 'two')`,
	} {
		if _, err := w.Pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	answers := make(chan string, 1)
	go func() {
		answers <- w.send(http.MethodGet, "/api/v1/runs/1/events?after=1", auth.Read, "").Body.String()
	}()
	if _, err := w.Pool.Exec(t.Context(), `WITH line AS (INSERT INTO run_logs (run, step, message) VALUES (1, 'retire', 'three')) UPDATE runs SET state = 'succeeded'`); err != nil {
		t.Fatal(err)
	}
	got := <-answers
	for _, text := range []string{"event: line", `"message":"two"`, `"message":"three"`, "event: run", `"state":"succeeded"`} {
		w.holds(got, text)
	}
	if strings.Contains(got, `"message":"one"`) || strings.Index(got, "three") > strings.Index(got, `"state":"succeeded"`) {
		t.Errorf("the stream is\n%s", got)
	}
	w.holds(w.send(http.MethodGet, "/api/v1/runs/99/events", auth.Read, "").Body.String(), "event: problem", "ORC-5201")
}
