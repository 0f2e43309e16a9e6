package reconcile

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
)

// path has deployments follow a golden path; OFFICE in it is where the office is.
func (w *world) path(steps string) *testenv.Office {
	w.Helper()
	o := testenv.NewOffice(w)
	w.offer(platform.Files{
		"environments/production.yaml": production + "path: careful\n", "paths/careful.yaml": "steps:\n" + strings.ReplaceAll(steps, "OFFICE", o.URL),
	})
	return o
}

// What a failed run did could not be undone: the commit says so until somebody has it tried again.
func TestAnUndoThatFailsForGoodIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.path(`
  - {id: open, http: {method: POST, url: "OFFICE/window"}, compensate: {http: {method: DELETE, url: "OFFICE/window"}}}
  - {id: ask, needs: [open], http: {url: "OFFICE/ask"}}
  - {id: release, needs: [ask], uses: release}
`)
	refuse := func(paths ...string) {
		o.On(func(r *http.Request, _ int) int {
			for _, p := range paths {
				if r.Method+" "+r.URL.Path == p {
					return http.StatusBadRequest
				}
			}
			return 0
		})
	}
	refuse("GET /ask", "DELETE /window")
	commit := w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 failed, 1 not undone: alpha: ") || !strings.Contains(said, "GET "+o.URL+"/ask") {
		t.Error(said)
	}
	list, err := w.Revisions(t.Context(), w.Pool, ours, commit)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	f := list[0].Outcomes[0].NotUndone
	if f == nil || f.Code != fault.NotUndone || !strings.Contains(f.Message, "step open of run 1 is not undone: DELETE "+o.URL+"/window answered 400") {
		t.Errorf("what is not undone: %v", f)
	}
	dead := w.rows(`SELECT id::text FROM job_history WHERE kind = 'undo' AND state = 4`)
	id, err := strconv.ParseInt(dead, 10, 64)
	if err != nil {
		t.Fatalf("dead: %q", dead)
	}
	refuse("GET /ask")
	if _, err := w.queue.Retry(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	if said := w.said(commit); !strings.HasPrefix(said, "failure: 1 failed: alpha: ") {
		t.Error(said)
	}
}
