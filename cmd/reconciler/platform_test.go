package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
	"github.com/innominatus/reconciler/pkg/platform"
)

// platformWorld is a database with replicas that watch the platform configuration, which has one environment with the target
// that each version is named after.
type platformWorld struct {
	*testing.T
	pool *pgxpool.Pool
	repo *testenv.GitRepo
	// beforeFetch is called once, when somebody has seen the branch and fetches what it saw.
	beforeFetch atomic.Pointer[func()]
	changes     atomic.Int32
}

func newPlatformWorld(t *testing.T) *platformWorld {
	t.Helper()
	w := &platformWorld{T: t, pool: testenv.Pool(t)}
	w.repo = testenv.Git(t, gitserver.Options{Before: func(_ http.ResponseWriter, r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte("command=fetch")) {
			if f := w.beforeFetch.Swap(nil); f != nil {
				(*f)()
			}
		}
		return false
	}}).CreateRepo(t, "platform")
	return w
}

func environment(name string) map[string]string {
	return map[string]string{"environments/version.yaml": fmt.Sprintf("target: {directory: {path: %s}}\n", name)}
}

// replica makes a watcher of a branch of the repository.
func (w *platformWorld) replica(branch string) *platformWatcher {
	client := gitrepo.NewClient(gitrepo.ClientConfig{})
	w.Cleanup(client.Close)
	return &platformWatcher{
		cfg: platformConfig{Repository: w.repo.URL, Branch: branch}, git: client, remote: gitrepo.Remote{URL: w.repo.URL}, dir: w.TempDir(),
		pool: w.pool, store: &platform.Store{}, log: zerolog.Nop(),
		changed: func(context.Context, pgx.Tx) error { w.changes.Add(1); return nil },
	}
}

func (w *platformWorld) look(replicas ...*platformWatcher) {
	w.Helper()
	for _, r := range replicas {
		if err := r.look(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
}

// want fails the test unless a version is in force, after as many changes.
func (w *platformWorld) want(name string, changes int32) {
	w.Helper()
	p, err := (&platform.Store{}).Current(w.Context(), w.pool)
	if err != nil {
		w.Fatal(err)
	}
	if got := p.Environments["version"].Target.Directory.Path; got != name || w.changes.Load() != changes {
		w.Errorf("%s is in force after %d changes, want %s after %d", got, w.changes.Load(), name, changes)
	}
}

func TestAPlatformConfigurationThatWasReadEarlierReplacesNoNewerOne(t *testing.T) {
	t.Parallel()
	w := newPlatformWorld(t)
	a, b := w.replica("main"), w.replica("main")
	w.repo.Commit("main", environment("first"))
	w.look(a)
	w.repo.Commit("main", environment("second"))
	overtake := func() {
		w.repo.Commit("main", environment("third"))
		w.look(a)
		w.want("third", 2)
	}
	w.beforeFetch.Store(&overtake)
	w.look(b)
	w.want("third", 2)
	w.look(a)
	w.want("third", 2)
}

// The replica that offered what is in force is gone, and the one that is left has offered before what the branch goes back to. One
// look alone is not believed: the forge may have answered with what was there before.
func TestAnyReplicaBringsBackWhatABranchGoesBackTo(t *testing.T) {
	t.Parallel()
	w := newPlatformWorld(t)
	a, b := w.replica("main"), w.replica("main")
	first := w.repo.Commit("main", environment("first"))
	w.look(a, b)
	w.repo.Commit("main", environment("second"))
	w.look(b)
	w.want("second", 2)
	w.repo.Run("update-ref", "refs/heads/main", first)
	w.look(a)
	w.want("second", 2)
	w.look(a)
	w.want("first", 3)
	w.look(b, a, b)
	w.want("first", 3)
}

func TestReplicasWithDifferentPlatformConfigurationsDoNotTakeTurns(t *testing.T) {
	t.Parallel()
	w := newPlatformWorld(t)
	w.repo.Commit("main", environment("first"))
	w.repo.Commit("next", environment("second"))
	a, b := w.replica("main"), w.replica("next")
	folder := w.replica("")
	folder.cfg = platformConfig{Directory: t.TempDir()}
	for name, text := range environment("folder") {
		file := filepath.Join(folder.cfg.Directory, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	replicas := []*platformWatcher{a, b, folder}
	w.look(replicas...)
	w.want("folder", 3)
	for range 3 {
		w.look(replicas...)
		slices.Reverse(replicas)
	}
	w.want("folder", 3)
	w.repo.Commit("next", environment("third"))
	w.look(replicas...)
	w.look(replicas...)
	w.want("third", 4)
}
