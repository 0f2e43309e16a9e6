package reconcile

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/apply/directory"
	"github.com/innominatus/reconciler/pkg/apply/gitops"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/forge/fake"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/secret"
	"github.com/innominatus/reconciler/pkg/status"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const ours = "shop/app"

// spoilable is gitwatch's with trees and merges that a test may spoil.
type spoilable struct {
	*gitwatch.Source
	spoil atomic.Pointer[fault.Fault]
	merge atomic.Pointer[fault.Fault]
}

func (s *spoilable) Tree(ctx context.Context, r gitwatch.Repository, branch, commit string) (Tree, error) {
	if f := s.spoil.Load(); f != nil {
		return nil, f
	}
	return s.Source.Tree(ctx, r, branch, commit)
}

func (s *spoilable) Merge(ctx context.Context, r gitwatch.Repository, p gitwatch.Pull) (Tree, []string, error) {
	if f := s.merge.Load(); f != nil {
		return nil, nil, f
	}
	return s.Source.Merge(ctx, r, p)
}

// replica is one process' worth of the rooms.
type replica struct {
	*Reconciler
	queue   *queue.Queue
	watcher *gitwatch.Watcher
	source  *spoilable
}

// world is a Git server, a forge in memory and a replica that watches one repository.
type world struct {
	testing.TB
	replica
	server *testenv.GitServer
	repo   *testenv.GitRepo
	forge  *fake.Forge
	keys   *secret.Keyring
	data   string
}

const production = "target: {directory: {path: out}}\n"

func newWorld(t testing.TB) *world {
	t.Helper()
	keys, err := secret.NewKeyring(bytes.Repeat([]byte{7}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, keys: keys, forge: fake.New(), data: t.TempDir()}
	w.server = testenv.Git(t, gitserver.Options{Before: func(http.ResponseWriter, *http.Request) bool { return false }})
	w.repo = w.server.CreateRepo(t, "app")
	w.forge.AddRepository(ours)
	w.replica = w.newReplica(testenv.Pool(t))
	w.offer(platform.Files{"environments/production.yaml": production})
	w.watch(ours, w.repo)
	return w
}

func (w *world) newReplica(pool *pgxpool.Pool) replica {
	git := gitrepo.NewClient(gitrepo.ClientConfig{})
	w.Cleanup(git.Close)
	src := &spoilable{Source: &gitwatch.Source{
		Client: git, Dir: w.TempDir(), Remote: func(r gitwatch.Repository) gitrepo.Remote { return gitrepo.Remote{URL: r.URL} }, Log: zerolog.Nop(),
	}}
	q := queue.New(pool, queue.Config{Lease: 3 * time.Second, Heartbeat: time.Second, Poll: 100 * time.Millisecond, Reap: 200 * time.Millisecond, Grace: 100 * time.Millisecond, Workers: 4})
	tracer, redactor := noop.NewTracerProvider().Tracer(""), &secret.Redactor{}
	plans, runs, versions := &planner.Store{Keys: w.keys}, &apply.Store{Keys: w.keys}, &platform.Store{}
	r := &Reconciler{
		Pool: pool, Queue: q, Source: src, Planner: plans, Platform: versions, Runs: runs, Keys: w.keys, Redactor: redactor,
		Instance: "test", URL: "http://reconciler", Tracer: tracer, Log: zerolog.Nop(),
	}
	forgeOf := func(string) (forge.Forge, error) { return w.forge, nil }
	versions.Check = r.CheckPlatform
	r.Outbox = &status.Outbox{
		Pool: pool, Queue: q, Redact: redactor.Redact, Marker: r.Marker, Log: zerolog.Nop(),
		Forge: func(_ context.Context, name string) (forge.Forge, string, error) { return w.forge, name, nil },
	}
	r.Runner = &apply.Runner{
		Pool: pool, Queue: q, Runs: runs, Planner: plans, Changed: r.RunChanged, Redactor: redactor, Tracer: tracer, Log: zerolog.Nop(),
		Platform:  func(ctx context.Context) (*platform.Platform, error) { return versions.Current(ctx, pool) },
		Directory: &directory.Target{Data: w.data},
		GitOps: &gitops.Target{Client: git, Dir: w.TempDir(), Data: w.data, Remote: func(t *platform.GitOpsTarget) gitrepo.Remote {
			return gitrepo.Remote{URL: t.Repository}
		}},
	}
	watcher := &gitwatch.Watcher{
		Pool: pool, Queue: q, Sink: r, ListRefs: src.ListRefs, Forge: forgeOf, DefaultPaths: DefaultPaths, Tracer: tracer, Log: zerolog.Nop(),
	}
	watcher.Collectors()
	r.Runner.Collectors()
	r.Outbox.Collectors()
	for kind, h := range r.Handlers() {
		h.BackoffBase, h.BackoffCap = 10*time.Millisecond, 50*time.Millisecond
		q.Handle(kind, h)
	}
	r.Runner.Retry = golden.Retry{Attempts: 11, Wait: 10 * time.Millisecond, Limit: 50 * time.Millisecond}
	runHandler := r.Runner.Handler()
	runHandler.BackoffBase, runHandler.BackoffCap = 10*time.Millisecond, 50*time.Millisecond
	q.Handle(apply.JobKind, runHandler)
	q.Handle(apply.UndoKind, r.Runner.UndoHandler())
	togetherHandler := r.Runner.TogetherHandler()
	togetherHandler.BackoffBase, togetherHandler.BackoffCap = 10*time.Millisecond, 50*time.Millisecond
	q.Handle(apply.TogetherKind, togetherHandler)
	q.Handle(gitwatch.JobKind, watcher.Handler())
	q.Handle(status.JobKind, r.Outbox.Handler())
	ctx, stop := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	w.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
	return replica{r, q, watcher, src}
}

func (w *world) tx(f func(tx pgx.Tx) error) {
	w.Helper()
	if err := pgx.BeginFunc(w.Context(), w.Pool, f); err != nil {
		w.Fatal(err)
	}
}

// candidate is a platform configuration that was read just now.
func (w *world) candidate(tx pgx.Tx, files platform.Files) platform.Candidate {
	w.Helper()
	newest, err := w.Platform.Newest(w.Context(), tx)
	if err != nil {
		w.Fatal(err)
	}
	return platform.Candidate{Source: "test", Files: files, Since: newest}
}

// offer brings a platform configuration into force.
func (w *world) offer(files platform.Files) {
	w.Helper()
	w.tx(func(tx pgx.Tx) error {
		changed, faults, err := w.Platform.Offer(w.Context(), tx, w.candidate(tx, files))
		if err == nil && faults.Err() != nil {
			err = faults.Err()
		}
		if err != nil || !changed {
			return err
		}
		return w.PlatformChanged(w.Context(), tx)
	})
}

func (w *world) watch(name string, repo *testenv.GitRepo) {
	w.Helper()
	w.tx(func(tx pgx.Tx) error {
		return w.watcher.Put(w.Context(), tx, gitwatch.Repository{
			Name: name, URL: repo.URL, Forge: "fake", Branches: map[string][]string{"main": {"production"}}, Paths: DefaultPaths, PollSeconds: 3600, Origin: gitwatch.API,
		})
	})
}

func (w *world) hint(name string) {
	w.Helper()
	w.tx(func(tx pgx.Tx) error { return w.watcher.Hint(w.Context(), tx, name) })
}

// push commits files, "" to delete one, and waits until everything that follows is over.
func (w *world) push(files map[string]string) string {
	w.Helper()
	commit := w.send(files)
	w.quiet()
	return commit
}

// send commits files, "" to delete one, and has them looked at.
func (w *world) send(files map[string]string) string {
	w.Helper()
	var list []gitserver.File
	for path, content := range files {
		list = append(list, gitserver.File{Path: path, Content: content, Delete: content == ""})
	}
	commit := w.repo.CommitFiles("main", list...)
	w.hint(ours)
	return commit
}

// quiet waits until no job is left but looks that are due later.
func (w *world) quiet() {
	w.Helper()
	w.until("quiet", func() bool {
		var n int
		err := w.Pool.QueryRow(w.Context(), `SELECT count(*) FROM jobs WHERE NOT (kind = 'look' AND state = 1 AND run_at > now() + interval '1 minute') AND kind <> 'report'`).Scan(&n)
		return err == nil && n == 0
	})
}

func (w *world) until(what string, ask func() bool) {
	w.Helper()
	testenv.Until(w, what, ask, func() string {
		return "the jobs are:\n" + w.rows("SELECT kind || ' ' || key || ' ' || state || ' ' || failures FROM jobs")
	})
}

// rows returns a query's one column, a line each.
func (w *world) rows(sql string, args ...any) string {
	w.Helper()
	rows, err := w.Pool.Query(w.Context(), sql, args...)
	if err != nil {
		w.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.Fatal(err)
	}
	return strings.Join(list, "\n")
}

// app returns an application by name.
func (w *world) app(name string) planner.Application {
	w.Helper()
	a, err := w.Planner.Named(w.Context(), w.Pool, "production", name)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// apps tells what is there: name, path, and generations.
func (w *world) apps() string {
	w.Helper()
	return w.rows(`SELECT name || ' ' || path || ' ' || applied || '/' || generation || CASE WHEN faults IS NULL THEN '' ELSE ' faulty' END
|| CASE WHEN waiting IS NULL THEN '' ELSE ' waiting' END || CASE WHEN hold_reason IS NULL THEN '' ELSE ' held' END
FROM applications WHERE removed_at IS NULL ORDER BY name`)
}

// said returns our status on a commit.
func (w *world) said(commit string) string {
	w.Helper()
	return w.rows(`SELECT state || ': ' || body FROM reports WHERE kind = 'status' AND target = $1`, commit)
}

func (w *world) deployed(name string) string {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(w.data, "out", name, name+".deployment.apps.yaml"))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), "image: ")
	image, _, _ := strings.Cut(after, "\n")
	return image
}

func (w *world) equal(want, got string) {
	w.Helper()
	if want != got {
		w.Errorf("want %q, got %q", want, got)
	}
}

func (w *world) code(err error, code fault.Code) {
	w.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		w.Errorf("got %v, want %s", err, code)
	}
}

func file(name, image string, more ...string) string {
	return fmt.Sprintf("apiVersion: score.dev/v1b1\nmetadata: {name: %s}\ncontainers: {main: {image: %q}}\n%s", name, image, strings.Join(more, ""))
}

const database = "resources: {db: {type: postgres}}\n"

func getRepository(w *world) (gitwatch.Repository, error) {
	return gitwatch.Get(w.Context(), w.Pool, ours)
}
