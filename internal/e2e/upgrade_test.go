//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/server"
)

// beside starts a binary with the world's configuration, database and key on another address, waits until it is ready, and
// returns where it is.
func (w *world) beside(path string) (process *testenv.Process, base string) {
	w.Helper()
	text, err := os.ReadFile(w.path("reconciler.yaml"))
	w.must(err)
	address := testenv.FreeAddress(w.T)
	own := strings.TrimPrefix(w.base, "http://")
	config := strings.Replace(strings.Replace(string(text), "data: data\n", "data: beside\nkeyFile: data/key\n", 1), own, address, 1)
	w.write("beside.yaml", config)
	base = "http://" + address
	return w.serve(path, "beside", base), base
}

// follow has deployments follow a golden path, and waits until that is in force.
func (w *world) follow(path string) {
	w.Helper()
	versions := func() (n int) {
		var list []platform.Revision
		w.must(w.api(http.MethodGet, "/platform", nil, &list))
		return len(list)
	}
	before := versions()
	w.write("platform/paths/careful.yaml", path)
	w.until("the path to be known", func() (bool, string) { n := versions(); return n > before, fmt.Sprint(n) })
	before = versions()
	w.write("platform/environments/production.yaml", strings.ReplaceAll(defaultEnvironment, "%s", w.deploy.URL)+"path: careful\n")
	w.until("the path to be followed", func() (bool, string) { n := versions(); return n > before, fmt.Sprint(n) })
}

const (
	// The runs of the previous version that hold what they push, by the job's id and lease; and who works.
	sqlInFlight = `SELECT id || ' ' || token || ' ' || worker FROM jobs WHERE state = 2 AND kind = 'run' ORDER BY id`
	sqlWorkers  = `SELECT DISTINCT worker FROM (SELECT worker FROM jobs UNION ALL SELECT worker FROM job_history) w WHERE worker IS NOT NULL`
	// Who has done a job that began when both were there.
	sqlWorked = `SELECT DISTINCT worker FROM job_history WHERE state = 3 AND started_at > $1::text::timestamptz AND worker IS NOT NULL`
)

// inFlight has the previous version push what it never hears of, and returns its runs that wait for that.
func (w *world) inFlight(commit func() string) []string {
	w.Helper()
	w.must(w.toGitea.Delay(500)) // milliseconds: so that a run is seen before it has ended
	commit()
	var list []string
	w.until("a run to be in flight", func() (bool, string) { list = w.rows(sqlInFlight); return len(list) > 0, "there is none" })
	w.must(w.toGitea.Swallow())
	return w.rows(sqlInFlight)
}

// readable fails the test unless a run that an earlier version may have made can be looked at.
func (w *world) readable(run apply.Run) {
	w.Helper()
	var r server.Run
	w.must(w.api(http.MethodGet, fmt.Sprintf("/runs/%d", run.ID), nil, &r))
	if !r.State.Final() || r.State == apply.Succeeded && (len(r.Steps) == 0 || r.Attempt == 0) {
		w.Errorf("run %d is %s with %d steps after %d attempts", r.ID, r.State, len(r.Steps), r.Attempt)
	}
	for _, command := range [][]string{{"runs", "show"}, {"logs"}} {
		if out, err := w.reconciler(append(command, fmt.Sprint(run.ID))...); err != nil || out == "" && r.State == apply.Succeeded {
			w.Errorf("%v of run %d: %v: %q", command, run.ID, err, out)
		}
	}
}

// An installation is upgraded while commits arrive: the previous version has written its data and has jobs in flight, both
// versions work side by side on the new schema, and the previous one leaves, by being asked to or by being killed. Only then does
// the platform use what the previous one did not know: golden paths.
func TestStoryOfARollingUpgrade(t *testing.T) {
	t.Parallel()
	previous, err := filepath.Abs("../../bin/previous")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(previous); err != nil {
		t.Skip("there is no previous version here: tools/previous.sh makes it of the repository's history")
	}
	for name, signal := range map[string]os.Signal{"asked": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{binary: previous, proxied: true})
			serial := 0
			commit := func() string {
				t.Helper()
				serial++
				files := map[string]string{"shop/score.yaml": shop(fmt.Sprint("shop:", serial))}
				for i := range 4 {
					app := fmt.Sprint("app", i)
					files[app+"/score.yaml"] = plainFile(app, fmt.Sprint(app, ":", serial))
				}
				return w.gitea.Commit(t, w.app, testenv.Change{Files: files})
			}
			all := func(commit string) {
				t.Helper()
				for _, app := range []string{"shop", "app0", "app1", "app2", "app3"} {
					w.waitDeployed(app, commit)
				}
			}
			all(commit())
			t.Log("the new version migrates the database while the previous one has jobs in flight")
			held, old := w.inFlight(commit), w.rows(sqlWorkers)
			if len(held) == 0 || len(old) != 1 {
				t.Fatalf("in flight: %q, workers: %q", held, old)
			}
			next, base := w.beside(binary(t))
			// One that had pushed before may have ended meanwhile.
			still := w.rows(sqlInFlight)
			if !slices.ContainsFunc(held, func(run string) bool { return slices.Contains(still, run) }) {
				t.Errorf("the new version has migrated the database, and of what was in flight, %q, nothing is in the same hands: %q", held, still)
			}
			w.must(w.toGitea.Mend())
			both := w.rows("SELECT now()::text")[0]
			all(commit())
			t.Log("both work side by side; the previous one leaves in the middle of it")
			var last string
			w.until("both to have worked side by side", func() (bool, string) {
				last = commit()
				who := w.rows(sqlWorked, both)
				return len(who) > 1 && slices.Contains(who, old[0]), fmt.Sprint(who)
			})
			for range 3 {
				last = commit()
			}
			w.stop(signal)
			// The world's questions go to the new version from here on.
			w.base = base
			all(last)
			last = commit()
			all(last)
			w.waitStatus(last, "success")
			t.Log("the previous one is gone: from now on deployments follow a golden path")
			var before []apply.Run
			w.must(w.api(http.MethodGet, "/runs?limit=500", nil, &before))
			o := testenv.NewOffice(t)
			w.follow(fmt.Sprintf("steps:\n  - {id: tell, http: {method: POST, url: \"%s/told/${application}\"}}\n  - {id: release, needs: [tell], uses: release}\n", o.URL))
			all(commit())
			asked := o.Asked()
			slices.Sort(asked)
			if diff := cmp.Diff([]string{"POST /told/app0", "POST /told/app1", "POST /told/app2", "POST /told/app3", "POST /told/shop"}, asked); diff != "" {
				t.Error(diff)
			}
			for _, run := range before {
				w.readable(run)
			}
			var dead []queue.Entry
			w.must(w.api(http.MethodGet, "/jobs?state=dead", nil, &dead))
			if len(dead) > 0 {
				t.Errorf("jobs died: %+v", dead)
			}
			w.must(next.End(os.Interrupt, patience))
		})
	}
}
