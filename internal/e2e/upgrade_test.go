//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
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

// An installation is upgraded while commits arrive: the previous version has written its data and has jobs in flight, both
// versions work side by side on the new schema, and the previous one leaves, by being asked to or by being killed.
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
			w := newWorld(t, options{binary: previous})
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
			commit()
			next, base := w.beside(binary(t))
			all(commit())
			t.Log("both work side by side; the previous one leaves in the middle of it")
			for range 3 {
				commit()
			}
			last := commit()
			w.stop(signal)
			// The world's questions go to the new version from here on.
			w.base = base
			all(last)
			last = commit()
			all(last)
			w.waitStatus(last, "success")
			var dead []queue.Entry
			w.must(w.api(http.MethodGet, "/jobs?state=dead", nil, &dead))
			if len(dead) > 0 {
				t.Errorf("jobs died: %+v", dead)
			}
			w.must(next.End(os.Interrupt, patience))
		})
	}
}
