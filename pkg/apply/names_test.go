package apply

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/planner"
)

// between calls what it has before a statement of a pool, counted down from its number.
type between struct {
	number int
	act    func()
}

func (b *between) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if b.number--; b.number == 0 {
		b.act()
	}
	return ctx
}

func (*between) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// do does a step of a run that a worker has taken.
func (w *world) do(e *engine, name string) {
	w.Helper()
	steps := e.steps()
	i := slices.IndexFunc(steps, func(s step) bool { return s.name == name })
	if _, err := steps[i].do(w.Context(), name); err != nil {
		w.Errorf("%s: %v", name, err)
	}
}

// meanwhile is a step that stands still while somebody takes the former name of its application.
type meanwhile struct {
	step string
	// resource is the one of the former name that both have to do with; has describes it in their Score files.
	resource, has, takerHas string
	// want is what is stored of it in the end.
	want string
}

// Wherever a worker stands still meanwhile: what somebody has under the name that its application had before is somebody's.
func TestNameThatSomebodyTakesMeanwhileIsTheirs(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]meanwhile{
		"while it lets go": {step: "retire", resource: "postgres.default#old.db", has: database, takerHas: database,
			want: "postgres.default#old.db {old} old - t"},
		"while it describes": {step: "provision settings.default#all", resource: "settings.default#all",
			has: "resources: {cfg: {type: settings, id: all}}\n", takerHas: "resources: {cfg: {type: settings, id: all, params: {v: two}}}\n",
			want: `settings.default#all {old,new} old {"v":"two"} t`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for number := 1; m.before(t, number); number++ {
			}
		})
	}
}

// before lets the taker come before a statement of the step, and says whether the step has as many.
func (m meanwhile) before(t *testing.T, number int) (reached bool) {
	w := newWorld(t, strings.Replace(settingsProvisioner, "  outputs:", "  supported_params: [v]\n  outputs:", 1))
	one, two := w.app("one"), w.app("two")
	first := w.take(w.schedule(one, w.build("old", image("a:1")+m.has)), 1)
	w.do(first, "provision "+m.resource)
	w.tx(func(tx pgx.Tx) error {
		_, _, err := w.runner.Runs.end(t.Context(), tx, first.run.ID, Succeeded, nil)
		return err
	})
	renamed, taker := w.take(w.schedule(one, w.build("new", image("a:1")+m.has)), 2), w.build("old", image("b:1")+m.takerHas)
	plain, done := w.pool, make(chan struct{})
	act := func() {
		reached, w.runner.Pool = true, plain
		second := w.take(w.schedule(two, taker), 3)
		go func() {
			defer close(done)
			w.do(second, "provision "+m.resource)
		}()
		w.until("the taker to be done or to wait", func() (settled bool) {
			select {
			case <-done:
				return true
			default:
			}
			err := plain.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&settled)
			return err == nil && settled
		})
	}
	config := plain.Config()
	watch := &between{act: act}
	config.ConnConfig.Tracer = watch
	pool, err := pgxpoolNew(t, config)
	if err == nil {
		err = pool.Ping(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	watch.number, w.runner.Pool = number, pool
	w.do(renamed, m.step)
	if !reached {
		return false
	}
	<-done
	var is string
	if err := plain.QueryRow(t.Context(), `SELECT concat_ws(' ', uid, users, described_by, coalesce(params::text, '-'), deleted_at IS NULL) FROM resources WHERE uid = $1`, m.resource).Scan(&is); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.want, is); diff != "" {
		t.Errorf("before statement %d: %s", number, diff)
	}
	return true
}

// Data under a former name is told of, and waits for its confirmation, however long ago the name was given up.
func TestDataUnderAFormerNameIsKnownWhenOldRunsAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.work()
	a := w.app("old")
	w.deployed(a, w.build("old", image("a:1")))
	w.half("a:2")
	w.ended(w.schedule(a, w.build("new", image("a:2")+database)))
	w.idle()
	// The rollback spared the database, and nobody has asked for anything since.
	if err := w.runner.Runs.Prune(t.Context(), w.pool, time.Now().Add(time.Hour), 1); err != nil {
		t.Fatal(err)
	}
	base, err := w.runner.Runs.Base(t.Context(), w.pool, planner.Application{ID: a.ID, Environment: "production", Name: "old"}, planner.Base{})
	if err != nil || len(base.Left) != 1 || base.Left[0].UID != "postgres.default#new.db" {
		t.Errorf("what is left is %+v: %v", base.Left, err)
	}
	if runs, err := w.runner.Runs.Runs(t.Context(), w.pool, RunFilter{Application: a.ID}, 10); err != nil || len(runs) != 2 {
		t.Errorf("%d runs stay: %v", len(runs), err)
	}
}
