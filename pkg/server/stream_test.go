package server_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
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
	site := httptest.NewServer(w.handler)
	t.Cleanup(site.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL+"/api/v1/runs/1/events?after=1", nil)
	w.must(err)
	r.Header.Set("Authorization", "Bearer "+w.tokens[auth.Read])
	answer, err := site.Client().Do(r)
	w.must(err)
	defer answer.Body.Close()
	// What has happened by now arrives before anything else does.
	stream := bufio.NewReader(answer.Body)
	var got string
	for !strings.Contains(got, "two") {
		line, err := stream.ReadString('\n')
		w.must(err)
		got += line
	}
	if _, err := w.Pool.Exec(t.Context(), `WITH line AS (INSERT INTO run_logs (run, step, message) VALUES (1, 'retire', 'three')) UPDATE runs SET state = 'succeeded'`); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stream)
	w.must(err)
	got += string(rest)
	for _, text := range []string{"event: line", `"message":"two"`, `"message":"three"`, "event: run", `"state":"succeeded"`} {
		w.holds(got, text)
	}
	if strings.Contains(got, `"message":"one"`) || strings.Index(got, "three") > strings.Index(got, `"state":"succeeded"`) {
		t.Errorf("the stream is\n%s", got)
	}
	w.holds(w.send(http.MethodGet, "/api/v1/runs/99/events", auth.Read, "").Body.String(), "event: problem", "ORC-5201")
}

// The page shows the beginning of a long log and says so; an artefact that was cut says it wherever it is listed.
func TestWhatIsCutSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sql := range []string{
		`INSERT INTO runs (application, environment, name, repository, generation, kind, state, plan, commit) VALUES (1, 'production', 'shop', 'a/b', 1, 'deploy', 'running', 'p', 'c')`,
		`INSERT INTO run_logs (run, step, message) SELECT 1, 'deliver', 'line ' || n || '.' FROM generate_series(1, 1001) n`,
		`INSERT INTO artefacts (run, step, name, media_type, content) VALUES (1, 'deliver', 'files.txt', 'text/plain', repeat('x', 300000)::bytea)`,
	} {
		if _, err := w.Pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	list, err := auth.Tokens(t.Context(), w.Pool)
	w.must(err)
	session, err := auth.Login(t.Context(), w.Pool, list[0].ID)
	w.must(err)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/runs/1", nil)
	r.AddCookie(&http.Cookie{Name: "reconciler_session", Value: session})
	page := w.do(r).Body.String()
	w.holds(page, "line 1000.", "These are the first 1000 lines", "300000, cut")
	if strings.Contains(page, "line 1001.") {
		t.Error("the page has more than it says")
	}
	w.holds(w.send(http.MethodGet, "/api/v1/runs/1", auth.Read, "").Body.String(), `"cut":true`)
}
