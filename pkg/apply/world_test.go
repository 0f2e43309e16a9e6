package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/score"
	"github.com/innominatus/reconciler/pkg/secret"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// shelf is a target in memory. hook, if set, is asked before a delivery does anything.
type shelf struct {
	mu    sync.Mutex
	files map[string]string
	hook  func(ctx context.Context, d Delivery) error
	seen  []Delivery
}

func (s *shelf) on(hook func(ctx context.Context, d Delivery) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

func (s *shelf) Deliver(ctx context.Context, d Delivery) (Delivered, error) {
	s.mu.Lock()
	hook := s.hook
	s.seen = append(s.seen, d)
	s.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, d); err != nil {
			return Delivered{}, err
		}
	}
	if err := d.Alive(ctx); err != nil {
		return Delivered{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	writes := 0
	for _, f := range d.Write {
		if have, found := s.files[f.Path]; !found || !f.Keep && have != string(f.Content) {
			s.files[f.Path] = string(f.Content)
			writes++
		}
	}
	for _, p := range d.Remove {
		if _, there := s.files[p]; there {
			delete(s.files, p)
			writes++
		}
	}
	d.Log("%d writes", writes)
	return Delivered{Writes: writes, Detail: fmt.Sprint(writes)}, nil
}

func (s *shelf) paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.files))
}

// world is a runner on real parts with a target in memory.
type world struct {
	testing.TB
	pool     *pgxpool.Pool
	queue    *queue.Queue
	runner   *Runner
	plans    *planner.Store
	platform *platform.Platform
	target   *shelf

	// paths are given to runs that are scheduled.
	paths *Paths

	mu   sync.Mutex
	told []string
}

const sharedProvisioner = `
- uri: template://test/room
  type: room
  shared: |
    rooms: {{ dict .SourceWorkload "taken" | toJson }}
  outputs: |
    {}
- uri: template://test/common
  type: common
  outputs: |
    {}
  manifests: |
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: common}, data: {a: b}}
`

func newWorld(t testing.TB, provisioners ...string) *world {
	t.Helper()
	files := platform.Files{"environments/production.yaml": "target: {directory: {path: out}}\n"}
	for i, text := range provisioners {
		files[fmt.Sprintf("provisioners/%d.provisioners.yaml", i)] = text
	}
	p, faults := platform.Load(files)
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	keys, err := secret.NewKeyring(bytes.Repeat([]byte{7}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	pool := testenv.Pool(t)
	w := &world{TB: t, pool: pool, platform: p, plans: &planner.Store{Keys: keys}, target: &shelf{files: map[string]string{}}}
	w.queue = queue.New(pool, queue.Config{Lease: 3 * time.Second, Heartbeat: time.Second, Poll: 100 * time.Millisecond, Reap: 200 * time.Millisecond,
		Grace: 100 * time.Millisecond, Workers: 4})
	w.runner = &Runner{
		Pool: pool, Queue: w.queue, Runs: &Store{Keys: keys}, Planner: w.plans, Redactor: &secret.Redactor{}, Directory: w.target,
		Platform: func(context.Context) (*platform.Platform, error) { return p, nil },
		Changed: func(_ context.Context, _ pgx.Tx, runs ...Run) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, run := range runs {
				w.told = append(w.told, fmt.Sprintf("%s %d %s", run.Name, run.Generation, run.State))
			}
			return nil
		},
		Tracer: noop.NewTracerProvider().Tracer(""), Log: zerolog.Nop(),
	}
	w.runner.Retry = golden.Retry{Attempts: 3, Wait: 10 * time.Millisecond, Limit: 20 * time.Millisecond}
	w.runner.Collectors()
	h := w.runner.Handler()
	h.BackoffBase, h.BackoffCap, h.MaxAttempts = 10*time.Millisecond, 20*time.Millisecond, 3
	w.queue.Handle(JobKind, h)
	undo := w.runner.UndoHandler()
	undo.BackoffBase, undo.BackoffCap = 10*time.Millisecond, 20*time.Millisecond
	w.queue.Handle(UndoKind, undo)
	return w
}

// work lets the queue run until the test ends.
func (w *world) work() {
	ctx, stop := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- w.queue.Run(ctx) }()
	w.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
}

func (w *world) tx(f func(tx pgx.Tx) error) {
	w.Helper()
	if err := pgx.BeginFunc(w.Context(), w.pool, f); err != nil {
		w.Fatal(err)
	}
}

// build makes a release of a Score file as planning does.
func (w *world) build(name, rest string) *planner.Release {
	w.Helper()
	text := fmt.Sprintf("apiVersion: score.dev/v1b1\nmetadata: {name: %s}\n%s", name, rest)
	loaded, faults := score.Load(score.Source{Name: name + "/score.yaml", Data: []byte(text)})
	if faults.Err() != nil {
		w.Fatal(faults)
	}
	environment, err := w.platform.Environment("production")
	if err != nil {
		w.Fatal(err)
	}
	stored, shared, err := w.runner.Runs.Stored(w.Context(), w.pool, "production")
	if err != nil {
		w.Fatal(err)
	}
	r, faults := planner.Build(planner.Input{Workload: loaded[0], Environment: environment, Platform: w.platform, Stored: stored, Shared: shared, Secrets: w.plans.Keys})
	if faults.Err() != nil {
		w.Fatal(faults)
	}
	return r
}

func image(tag string) string { return fmt.Sprintf("containers: {main: {image: %q}}\n", tag) }

// app makes an application.
func (w *world) app(name string) (a planner.Application) {
	w.Helper()
	w.tx(func(tx pgx.Tx) (err error) {
		a, err = w.plans.Create(w.Context(), tx, "production", "shop/app", name+"/score.yaml", name)
		return err
	})
	return a
}

// schedule stores a release, nil to remove the application, and its run.
func (w *world) schedule(a planner.Application, r *planner.Release) (run Run) {
	w.Helper()
	w.tx(func(tx pgx.Tx) error {
		run = Run{Application: a.ID, Environment: "production", Name: a.Name, Repository: a.Repository, Kind: Deploy, Plan: "p", Commit: "c", Paths: w.paths}
		if r == nil {
			run.Kind = Remove
		} else {
			run.Name = r.Workload
		}
		var err error
		if w.paths != nil {
			p := planner.NewPlan(a.Name, "production", "test", planner.Base{}, r)
			if err = w.plans.StorePlan(w.Context(), tx, p, a.Repository, "c", 0); err != nil {
				return err
			}
			run.Plan = p.ID
		}
		if run.Generation, err = w.plans.NextRelease(w.Context(), tx, planner.Record{Application: a.ID, Plan: "p", Commit: "c", Cause: "commit"}, r); err != nil {
			return err
		}
		var replaced []Run
		run.ID, replaced, err = w.runner.Runs.Schedule(w.Context(), tx, w.queue, run)
		for _, old := range replaced {
			w.told = append(w.told, fmt.Sprintf("%s %d %s", old.Name, old.Generation, old.State))
		}
		return err
	})
	return run
}

// until waits for a state of the world.
func (w *world) until(what string, ask func() bool) {
	w.Helper()
	testenv.Until(w, what, ask, func() string {
		runs, _ := w.runner.Runs.Runs(w.Context(), w.pool, RunFilter{}, 10)
		return fmt.Sprintf("the runs are %+v", runs)
	})
}

// ended waits for the end of a run.
func (w *world) ended(run Run) Run {
	w.Helper()
	w.until(fmt.Sprintf("run %d to end", run.ID), func() bool {
		run = w.run(run.ID)
		return run.State.Final()
	})
	return run
}

func (w *world) run(id int64) Run {
	w.Helper()
	r, err := w.runner.Runs.Run(w.Context(), w.pool, id)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// take makes the engine of a run as a worker with a lease does that takes it.
func (w *world) take(run Run, token int64) *engine {
	w.Helper()
	begun, err := w.runner.begin(w.Context(), run.ID, token, 1)
	if err != nil {
		w.Fatal(err)
	}
	e, err := (&execution{Runner: w.runner, run: begun}).prepare(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// deployed deploys a release and waits for it.
func (w *world) deployed(a planner.Application, r *planner.Release) Run {
	w.Helper()
	run := w.ended(w.schedule(a, r))
	if run.State != Succeeded {
		w.Fatalf("run ended as %s: %v", run.State, run.Fault)
	}
	return run
}

func (w *world) application(id int64) planner.Application {
	w.Helper()
	a, err := w.plans.Application(w.Context(), w.pool, id)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// dump returns all rows of the package's tables as text.
func (w *world) dump(tables ...string) string {
	w.Helper()
	var all strings.Builder
	for _, table := range tables {
		rows, err := w.pool.Query(w.Context(), "SELECT t::text FROM "+table+" t ORDER BY 1")
		if err != nil {
			w.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			w.Fatal(err)
		}
		fmt.Fprintf(&all, "%s\n%s\n", table, strings.Join(lines, "\n"))
	}
	return all.String()
}

// refuse fails deliveries of one image, for good or to be tried again.
func (w *world) refuse(content string, code fault.Code) {
	w.target.on(func(_ context.Context, d Delivery) error {
		for _, f := range d.Write {
			if strings.Contains(string(f.Content), content) {
				return fault.New(code, "no place for %s", content)
			}
		}
		return nil
	})
}

var errInterrupted = errors.New("interrupted")
