//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
)

// second is a server of another version beside the world's own.
type second struct {
	*world
	cmd  *exec.Cmd
	done chan error
}

// beside starts a binary with the world's configuration, database and key on another address, and waits until it is ready.
func (w *world) beside(path string) *second {
	w.Helper()
	text, err := os.ReadFile(w.path("reconciler.yaml"))
	w.must(err)
	address := freeAddress(w.T)
	own := strings.TrimPrefix(w.base, "http://")
	config := strings.Replace(strings.Replace(string(text), "data: data\n", "data: beside\nkeyFile: data/key\n", 1), own, address, 1)
	w.write("beside.yaml", config)
	log, err := os.OpenFile(w.path("beside.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	defer log.Close()
	s := &second{world: w, cmd: exec.Command(path, "serve", "--config", w.path("beside.yaml")), done: make(chan error, 1)}
	s.cmd.Stderr, s.cmd.Stdout = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.must(s.cmd.Start())
	go func() { s.done <- s.cmd.Wait() }()
	w.Cleanup(func() { s.end(os.Kill) })
	w.until("the other version to be ready", func() (bool, string) {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			text, _ := os.ReadFile(w.path("beside.log"))
			return false, string(text)
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status
	})
	return s
}

// end ends it by a signal, once.
func (s *second) end(signal os.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	select {
	case <-s.done:
	case <-time.After(patience):
		s.Error("the other version did not stop")
	}
	s.cmd = nil
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
			next := w.beside(binary(t))
			all(commit())
			t.Log("both work side by side; the previous one leaves in the middle of it")
			for range 3 {
				commit()
			}
			last := commit()
			w.stop(signal)
			// The world's questions go to the new version from here on.
			w.base = "http://" + strings.TrimPrefix(next.address(), "http://")
			all(last)
			last = commit()
			all(last)
			w.waitStatus(last, "success")
			var dead []queue.Entry
			w.must(w.api(http.MethodGet, "/jobs?state=dead", nil, &dead))
			if len(dead) > 0 {
				t.Errorf("jobs died: %+v", dead)
			}
			next.end(os.Interrupt)
		})
	}
}

// address is where it listens.
func (s *second) address() string {
	text, err := os.ReadFile(s.path("beside.yaml"))
	s.must(err)
	_, after, _ := strings.Cut(string(text), "listen: ")
	address, _, _ := strings.Cut(after, "}")
	return strings.TrimSpace(address)
}
