package gitwatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/forge/fake"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
	"github.com/innominatus/reconciler/pkg/queue"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const ours = "shop/app"

// sink writes down what it is told.
type sink struct {
	mu   sync.Mutex
	told []string
}

func (s *sink) note(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf(format, args...))
	return nil
}

func (s *sink) Moved(_ context.Context, _ pgx.Tx, _ Repository, ref Ref) error {
	commit := "gone"
	if ref.Commit != nil {
		commit = *ref.Commit
	}
	return s.note("%s %d %s", ref.Name, ref.Generation, commit)
}

func (s *sink) Seen(_ context.Context, _ pgx.Tx, _ Repository, p Pull) error {
	return s.note("#%d %d %s on %s %.7s", p.Number, p.Generation, p.State, p.BaseRef, p.BaseCommit)
}

func (s *sink) Changed(_ context.Context, _ pgx.Tx, r Repository) error {
	return s.note("changed %s", r.Name)
}

// take returns what was told since the last time.
func (s *sink) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told
	s.told = nil
	return told
}

type world struct {
	testing.TB
	pool    *pgxpool.Pool
	queue   *queue.Queue
	watcher *Watcher
	sink    *sink
	repo    *testenv.GitRepo
	forge   *fake.Forge

	mu sync.Mutex
	// ask, if set, is called instead of the remote.
	ask func(ctx context.Context) error
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, pool: testenv.Pool(t), sink: &sink{}, forge: fake.New()}
	w.forge.AddRepository(ours)
	w.repo = testenv.Git(t, gitserver.Options{}).CreateRepo(t, "app")
	client := gitrepo.NewClient(gitrepo.ClientConfig{})
	t.Cleanup(client.Close)
	source := &Source{Client: client, Dir: t.TempDir(), Remote: func(r Repository) gitrepo.Remote { return gitrepo.Remote{URL: r.URL} }}
	w.queue = queue.New(w.pool, queue.Config{Lease: 3 * time.Second, Heartbeat: time.Second, Poll: 100 * time.Millisecond, Reap: 200 * time.Millisecond, Grace: 100 * time.Millisecond})
	w.watcher = &Watcher{
		Pool: w.pool, Queue: w.queue, Sink: w.sink, DefaultPaths: []string{"**/score.yaml"}, Tracer: noop.NewTracerProvider().Tracer(""), Log: zerolog.Nop(),
		ListRefs: func(ctx context.Context, r Repository, prefixes []string) (map[string]string, error) {
			w.mu.Lock()
			ask := w.ask
			w.mu.Unlock()
			if ask != nil {
				if err := ask(ctx); err != nil {
					return nil, err
				}
			}
			return source.ListRefs(ctx, r, prefixes)
		},
		Forge: func(name string) (forge.Forge, error) {
			switch name {
			case "":
				return nil, nil
			case "fake":
				return w.forge, nil
			}
			return nil, fault.New(fault.ForgeUnknown, "no forge %s", name)
		},
	}
	w.watcher.Collectors()
	w.queue.Handle(JobKind, w.watcher.Handler())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.queue.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) onAsk(f func(ctx context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ask = f
}

func (w *world) tx(f func(tx pgx.Tx) error) {
	w.Helper()
	if err := pgx.BeginFunc(w.Context(), w.pool, f); err != nil {
		w.Fatal(err)
	}
}

func (w *world) repository() Repository {
	return Repository{Name: ours, URL: w.repo.URL, Forge: "fake", Branches: map[string][]string{"main": {"production"}}, Paths: []string{"**"}, PollSeconds: 3600, Origin: API}
}

func (w *world) put(r Repository) {
	w.Helper()
	w.tx(func(tx pgx.Tx) error { return w.watcher.Put(w.Context(), tx, r) })
	w.quiet()
}

// look asks for a look and waits for its end.
func (w *world) look() {
	w.Helper()
	w.tx(func(tx pgx.Tx) error { return w.watcher.Hint(w.Context(), tx, ours) })
	w.quiet()
}

func (w *world) quiet() {
	w.Helper()
	w.until("looks to be over", func() bool {
		return w.number(`SELECT count(*) FROM jobs WHERE NOT (state = 1 AND run_at > now() + interval '1 minute')`) == 0
	})
}

func (w *world) number(sql string) (n int) {
	w.Helper()
	if err := w.pool.QueryRow(w.Context(), sql).Scan(&n); err != nil {
		w.Fatal(err)
	}
	return n
}

func (w *world) until(what string, ask func() bool) {
	w.Helper()
	testenv.Until(w, what, ask, func() string { return "the sink was told " + strings.Join(w.sink.take(), ", ") })
}

func (w *world) told(want ...string) {
	w.Helper()
	if diff := cmp.Diff(want, w.sink.take()); diff != "" {
		w.Error(diff)
	}
}

func (w *world) get() Repository {
	w.Helper()
	r, err := Get(w.Context(), w.pool, ours)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func TestEveryMoveOfABranchIsANewGeneration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.repo.Commit("main", map[string]string{"a": "1"})
	w.put(w.repository())
	w.told("changed "+ours, "main 1 "+first)
	w.look()
	w.told()
	second := w.repo.Commit("main", map[string]string{"a": "2"})
	w.look()
	w.repo.Run("update-ref", "refs/heads/main", first)
	w.look()
	w.told("main 2 "+second, "main 3 "+first)
	w.repo.Run("update-ref", "-d", "refs/heads/main")
	w.look()
	w.told("main 4 gone")
	if f := w.get().Fault; f == nil || f.Code != fault.BranchGone {
		t.Errorf("the fault is %v", f)
	}
	w.repo.Run("update-ref", "refs/heads/main", first)
	w.look()
	w.told("main 5 " + first)
	if r := w.get(); r.Fault != nil || r.FailingSince != nil {
		t.Errorf("the fault stays: %v", r.Fault)
	}
}

func TestPullRequestsAreFollowedToTheirEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	base := w.repo.Commit("main", map[string]string{"a": "1"})
	w.put(w.repository())
	w.sink.take()
	first := w.forge.AddPull(ours, forge.Pull{HeadRef: "x", Title: "one"})
	w.forge.AddPull(ours, forge.Pull{HeadRef: "y", BaseRef: "elsewhere"})
	w.look()
	w.told("#1 1 open on main " + base[:7])
	// Its base moved: what was planned is out of date.
	moved := w.repo.Commit("main", map[string]string{"a": "2"})
	w.look()
	w.told("#1 2 open on main "+moved[:7], "main 2 "+moved)
	w.forge.MergePull(ours, first.Number)
	w.look()
	w.told("#1 3 merged on main " + moved[:7])
	third := w.forge.AddPull(ours, forge.Pull{HeadRef: "z"})
	w.look()
	w.forge.ClosePull(ours, third.Number)
	w.look()
	w.told("#3 1 open on main "+moved[:7], "#3 2 closed on main "+moved[:7])
	w.look()
	w.told()
}

// One that the forge does not know any more counts as closed, and is not asked for again.
func TestVanishedPullRequestIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.repo.Commit("main", map[string]string{"a": "1"})
	w.put(w.repository())
	w.forge.AddPull(ours, forge.Pull{HeadRef: "x"})
	w.look()
	w.forge.AddRepository(ours) // anew, without pull requests
	w.look()
	list, err := Pulls(t.Context(), w.pool, ours, "")
	if err != nil || len(list) != 1 || list[0].State != forge.Closed {
		t.Errorf("there are %+v, %v", list, err)
	}
}

func TestPullRequestThatPointsElsewhereIsNotPlannedForItsOldBase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.repo.Commit("main", map[string]string{"a": "1"})
	w.put(w.repository())
	p := w.forge.AddPull(ours, forge.Pull{HeadRef: "x"})
	w.look()
	w.sink.take()
	w.tx(func(tx pgx.Tx) error {
		p.BaseRef = "other"
		_, err := w.watcher.note(t.Context(), tx, w.repository(), sighting{refs: map[string]string{"refs/heads/main": "c"}, pulls: []forge.Pull{p}})
		return err
	})
	stored, _, err := GetPull(t.Context(), w.pool, ours, p.Number)
	if err != nil || stored.BaseRef != "other" || stored.Generation != 2 {
		t.Errorf("it is %+v, %v", stored, err)
	}
}

// A look may have asked before what a hint is about happened.
func TestHintWhileALookRunsLeadsToAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.repo.Commit("main", map[string]string{"a": "1"})
	w.put(w.repository())
	began, goOn := make(chan bool, 10), make(chan bool)
	w.onAsk(func(context.Context) error { began <- true; <-goOn; return nil })
	hint := func() {
		w.tx(func(tx pgx.Tx) error { return w.watcher.Hint(t.Context(), tx, ours) })
	}
	hint()
	<-began
	for range 5 {
		hint()
	}
	goOn <- true
	<-began
	goOn <- true
	w.quiet()
	if len(began) > 0 {
		t.Error("there were more looks than needed")
	}
	if n := w.number("SELECT count(*) FROM jobs"); n != 1 {
		t.Errorf("%d looks are due", n)
	}
}

func TestFailingRemoteKeepsTheRefsAndIsAskedMoreRarely(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commit := w.repo.Commit("main", map[string]string{"a": "1"})
	r := w.repository()
	r.PollSeconds = 120
	w.put(r)
	w.sink.take()
	w.onAsk(func(context.Context) error {
		return fault.New(fault.ForgeUnavailable, "later").RetryAfter(20 * time.Minute)
	})
	w.look()
	w.told()
	if got := w.get(); got.Fault == nil || got.FailingSince == nil {
		t.Errorf("no fault: %+v", got)
	}
	ref, _, err := GetRef(t.Context(), w.pool, ours, "main")
	if err != nil || ref.Commit == nil || *ref.Commit != commit {
		t.Errorf("the ref is %+v, %v", ref, err)
	}
	if n := w.number("SELECT count(*) FROM jobs WHERE run_at > now() + interval '19 minutes 50 seconds'"); n != 1 {
		t.Error("it comes back before the forge asked for")
	}
	w.onAsk(func(context.Context) error { return errors.New("no route") })
	for since, bounds := range map[string][2]int{"5 minutes": {230, 370}, "9 hours": {470, 730}} {
		if _, err := w.pool.Exec(t.Context(), "UPDATE repositories SET failing_since = now() - $1::interval", since); err != nil {
			t.Fatal(err)
		}
		w.look()
		wait := w.number("SELECT extract(epoch FROM run_at - now())::int FROM jobs")
		if wait < bounds[0] || wait > bounds[1] {
			t.Errorf("failing for %s, the next look is in %d s", since, wait)
		}
	}
	w.onAsk(nil)
	w.look()
	w.told()
	if got := w.get(); got.Fault != nil {
		t.Errorf("the fault stays: %v", got.Fault)
	}
}

// Deployments need Git alone: a forge whose API is down, or that refuses our token, hides no commit.
func TestForgeThatIsDownHidesNoCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.repo.Commit("main", map[string]string{"a": "1"})
	p := w.forge.AddPull(ours, forge.Pull{HeadRef: "change", HeadCommit: first, BaseRef: "main"})
	w.put(w.repository())
	w.sink.take()
	w.forge.Before(func(context.Context, fake.Call) error { return fault.New(fault.ForgeUnavailable, "down") })
	second := w.repo.Commit("main", map[string]string{"a": "2"})
	w.look()
	w.told("main 2 " + second)
	if got := w.get(); got.Fault == nil || got.Fault.Code != fault.ForgeUnavailable {
		t.Errorf("the fault is %v", got.Fault)
	}
	if got, _, err := GetPull(t.Context(), w.pool, ours, p.Number); err != nil || got.State != forge.Open {
		t.Errorf("the pull request is %+v, %v", got, err)
	}
	w.forge.Before(nil)
	w.forge.MergePull(ours, p.Number)
	w.look()
	w.told(fmt.Sprintf("#%d 2 merged on main %.7s", p.Number, second))
}

func TestSweepFindsWhatWasLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.repo.Commit("main", map[string]string{"a": "1"})
	w.put(w.repository())
	w.sink.take()
	lose := func(polled string) {
		t.Helper()
		if _, err := w.pool.Exec(t.Context(), "DELETE FROM jobs"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.pool.Exec(t.Context(), "UPDATE repositories SET polled_at = now() - $1::interval", polled); err != nil {
			t.Fatal(err)
		}
		if err := w.watcher.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.quiet()
	}
	lose("2 hours")
	if n := w.number("SELECT count(*) FROM jobs"); n != 0 {
		t.Errorf("%d looks that are not due", n)
	}
	lose("4 hours")
	if n := w.number("SELECT count(*) FROM jobs"); n != 1 {
		t.Errorf("%d looks", n)
	}
}

func TestConfigureOwnsOnlyWhatIsConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	of := func(name string, origin Origin) Repository {
		r := w.repository()
		r.Name, r.Origin, r.Forge = name, origin, ""
		return r
	}
	configure := func(list ...Repository) {
		w.tx(func(tx pgx.Tx) error { return w.watcher.Configure(t.Context(), tx, list) })
		w.quiet()
	}
	w.put(of("a/api", API))
	configure(of("a/one", Configuration), of("a/two", Configuration))
	w.sink.take()
	configure(of("a/one", Configuration), of("a/two", Configuration))
	w.told()
	changed := of("a/two", Configuration)
	changed.Branches = map[string][]string{"main": {"production", "staging"}}
	configure(changed)
	w.told("changed a/two")
	list, err := Repositories(t.Context(), w.pool)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"a/api", "a/two"}, names); diff != "" {
		t.Error(diff)
	}
	w.tx(func(tx pgx.Tx) error {
		if err := w.watcher.Hint(t.Context(), tx, "a/one"); err != nil {
			return err
		}
		if err := w.watcher.Drop(t.Context(), tx, "a/one"); fault.ClassOf(err) == fault.Retryable {
			t.Errorf("dropped twice: %v", err)
		}
		return nil
	})
}

func TestOnlyTheConfigurationChangesWhatItHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tx(func(tx pgx.Tx) error {
		r := w.repository()
		r.Origin = Configuration
		if err := w.watcher.Configure(t.Context(), tx, []Repository{r}); err != nil {
			return err
		}
		refused := func(act string, err error) {
			if f, ok := fault.As(err); !ok || f.Code != fault.RepositoryConfigured {
				t.Errorf("%s gives %v", act, err)
			}
		}
		r.Origin, r.URL = API, "https://git.example/other"
		refused("put", w.watcher.Put(t.Context(), tx, r))
		refused("drop", w.watcher.Drop(t.Context(), tx, r.Name))
		if got, err := Get(t.Context(), tx, r.Name); err != nil || got.URL != w.repo.URL || got.Origin != Configuration || got.RemovedAt != nil {
			t.Errorf("it is %+v, %v", got, err)
		}
		// Once the configuration does not hold it any more, anybody may add it, and the configuration may take it back.
		if err := w.watcher.Configure(t.Context(), tx, nil); err != nil {
			return err
		}
		if err := w.watcher.Put(t.Context(), tx, r); err != nil {
			return err
		}
		r.Origin = Configuration
		if err := w.watcher.Configure(t.Context(), tx, []Repository{r}); err != nil {
			return err
		}
		refused("drop", w.watcher.Drop(t.Context(), tx, r.Name))
		return nil
	})
}

func TestCheckRefusesWhatIsNotPossible(t *testing.T) {
	t.Parallel()
	w := &Watcher{DefaultPaths: []string{"**/score.yaml"}, Forge: func(name string) (forge.Forge, error) {
		if name != "" {
			return nil, errors.New("unknown")
		}
		return nil, nil
	}}
	good := Repository{Name: "a/b", URL: "https://git.example/a/b", Branches: map[string][]string{"main": {"production"}}}
	if err := w.Check(&good); err != nil || good.PollSeconds != defaultPoll || !slices.Equal(good.Paths, w.DefaultPaths) {
		t.Errorf("%+v, %v", good, err)
	}
	for name, spoil := range map[string]func(*Repository){
		"no owner": func(r *Repository) { r.Name = "b" }, "three parts": func(r *Repository) { r.Name = "a/b/c" },
		"empty owner": func(r *Repository) { r.Name = "/b" }, "empty name": func(r *Repository) { r.Name = "a/" },
		"no URL": func(r *Repository) { r.URL = "nonsense" }, "credentials": func(r *Repository) { r.URL = "https://u:p@git.example/a" },
		"a file": func(r *Repository) { r.URL = "file:///etc" }, "ssh": func(r *Repository) { r.URL = "ssh://git.example/a" },
		"ssh in short": func(r *Repository) { r.URL = "git@git.example:a/b" }, "no host": func(r *Repository) { r.URL = "https:///a" },
		"no branch": func(r *Repository) { r.Branches = nil }, "nameless branch": func(r *Repository) { r.Branches = map[string][]string{"": {"x"}} },
		"branch for nothing": func(r *Repository) { r.Branches = map[string][]string{"main": nil} },
		"bad pattern":        func(r *Repository) { r.Paths = []string{"["} }, "unknown forge": func(r *Repository) { r.Forge = "x" },
	} {
		r := good
		spoil(&r)
		if w.Check(&r) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestJitterStaysInItsBounds(t *testing.T) {
	t.Parallel()
	for random, want := range map[float64]time.Duration{0: 8 * time.Second, 0.5: 10 * time.Second, 1: 12 * time.Second} {
		if got := vary(10*time.Second, random); got != want {
			t.Errorf("%v gives %s", random, got)
		}
	}
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
