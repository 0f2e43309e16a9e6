package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

const askAfterFirst = `
main
steps:
  - {id: first, http: {method: POST, url: "%[1]s/first"}, compensate: {http: {method: DELETE, url: "%[1]s/first"}}}
  - {id: second, needs: [first], http: {url: "%[1]s/second"}}
  - {id: ask, needs: [second], approval: {}}
  - {id: release, needs: [ask], uses: release}
`

// turn drives a run as a worker with a lease does, until it is put off or ends.
func (w *world) turn(run Run, token int64) error {
	w.Helper()
	return w.take(run, token).drive(w.Context())
}

// A worker that is held up between its question and its request asks again: what it sends then is not sent behind the back
// of another.
func TestARequestIsNotSentByAWorkerThatLostTheRunMeanwhile(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(askAfterFirst, o.URL))
	end := make(chan error)
	w.tx(func(tx pgx.Tx) error {
		// The line that tells of the request is not written for now.
		if _, err := tx.Exec(t.Context(), `LOCK TABLE run_logs IN EXCLUSIVE MODE`); err != nil {
			return err
		}
		go func() { end <- w.turn(run, 100) }()
		w.until("the worker to be held up", func() (held bool) {
			err := w.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'run_logs'::regclass)`).Scan(&held)
			return err == nil && held
		})
		_, err := w.pool.Exec(t.Context(), `UPDATE runs SET token = 200 WHERE id = $1`, run.ID)
		return err
	})
	if err := <-end; !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("it ended with %v", err)
	}
	if asked := o.Asked(); len(asked) > 0 {
		t.Errorf("it was asked %v", asked)
	}
}

// It was replaced by one that was replaced itself.
func TestARunIsUndoneWhoseSuccessorNeverBegan(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	a, path := w.app("shop"), fmt.Sprintf(askAfterFirst, o.URL)
	run := w.along(a, w.build("shop", image("shop:1")), path)
	if err := w.turn(run, 1); !queue.IsSnooze(err) {
		t.Fatal(err)
	}
	w.along(a, w.build("shop", image("shop:2")), path)
	w.schedule(a, w.build("shop", image("shop:3")))
	w.work()
	w.until("it to be undone", func() bool { return slices.Contains(o.Asked(), "DELETE /first") })
	if state := w.run(run.ID).State; state != Superseded {
		t.Errorf("the run is %s", state)
	}
}

// A run may fail at the moment at which something takes its place that follows no path.
func TestARunIsUndoneThatFailsWhileARollbackWaits(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	a := w.app("shop")
	run := w.along(a, w.build("shop", image("shop:1")), fmt.Sprintf(askAfterFirst, o.URL))
	if err := w.turn(run, 1); !queue.IsSnooze(err) {
		t.Fatal(err)
	}
	// A worker has its job when the newer run is scheduled.
	if _, err := w.pool.Exec(t.Context(), `DELETE FROM jobs`); err != nil {
		t.Fatal(err)
	}
	w.schedule(a, w.build("shop", image("shop:2")))
	w.tx(func(tx pgx.Tx) error {
		return w.runner.onEnd(t.Context(), tx, &queue.Job{Args: fmt.Appendf(nil, `{"run": %d}`, run.ID)}, queue.Bury(fault.New(fault.RequestRefused, "no")))
	})
	w.work()
	w.until("it to be undone", func() bool { return slices.Contains(o.Asked(), "DELETE /first") })
	if state := w.run(run.ID).State; state != Failed {
		t.Errorf("the run is %s", state)
	}
}

// A rollback waits for what can be undone soon.
func TestWhatIsNotUndoneAtOnceIsTriedAgainBeforeTheRollback(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	a := w.app("shop")
	w.work()
	w.deployed(a, w.build("shop", image("shop:1")))
	o.On(func(r *http.Request, n int) int {
		switch {
		case r.Method == http.MethodDelete && n <= 2:
			return http.StatusServiceUnavailable
		case r.URL.Path == "/second":
			return http.StatusBadRequest
		}
		return 0
	})
	tries := make(chan int, 1)
	w.target.on(func(context.Context, Delivery) error {
		tries <- len(o.Keys("DELETE /first"))
		return nil
	})
	if run := w.ended(w.along(a, w.build("shop", image("shop:2")), fmt.Sprintf(askAfterFirst, o.URL))); run.State != Failed {
		t.Errorf("the run is %s", run.State)
	}
	if n := <-tries; n != 3 {
		t.Errorf("the rollback began after %d tries", n)
	}
}

// idle waits until nothing is to do.
func (w *world) idle() {
	w.Helper()
	w.until("no jobs to be left", func() bool {
		var n int
		err := w.pool.QueryRow(w.Context(), `SELECT count(*) FROM jobs`).Scan(&n)
		return err == nil && n == 0
	})
}

// Whether a step had an effect is not what its last attempt says.
func TestWhatMayHaveHappenedIsUndone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step    string
		answers map[int]int
		want    []string
	}{
		"answered with something else":       {`{id: first, http: {method: POST, url: "%[1]s/first"}, outputs: {n: {type: string, value: response.body.n}}, `, nil, []string{"POST /first", "DELETE /first/1"}},
		"answered with what cannot be asked": {`{id: first, http: {method: POST, url: "%[1]s/first", expect: response.body.gone.deep}, `, nil, []string{"POST /first", "DELETE /first/1"}},
		"refused after it was broken off":    {`{id: first, retry: {attempts: 2, wait: 10ms, limit: 20ms}, http: {method: POST, url: "%[1]s/first"}, `, map[int]int{1: 504, 2: 409}, []string{"POST /first", "POST /first", "DELETE /first/1"}},
		"refused":                            {`{id: first, http: {method: POST, url: "%[1]s/first"}, `, map[int]int{1: 409}, []string{"POST /first"}},
		"never sent":                         {`{id: first, http: {method: POST, url: "%[1]s/first", headers: {Key: "${secrets.none}"}}, retry: {attempts: 1}, `, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, o := newWorld(t), testenv.NewOffice(t)
			o.On(func(r *http.Request, n int) int {
				if r.Method == http.MethodPost {
					return c.answers[n]
				}
				return 0
			})
			run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(`
main
steps:
  - `+c.step+`compensate: {http: {method: DELETE, url: "%[1]s/first/${generation}"}}}
  - {id: release, needs: [first], uses: release}
`, o.URL))
			w.work()
			if run = w.ended(run); run.State != Failed {
				t.Errorf("the run is %s", run.State)
			}
			w.idle()
			if diff := cmp.Diff(c.want, o.Asked()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is to be undone stands in the answer, and that did not come: the step is done again, with its key, to know it.
func TestAStepIsAskedAgainForWhatItsUndoingNeeds(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	o.On(func(r *http.Request, n int) int {
		switch {
		case r.URL.Path == "/refuse" && n > 1:
			return http.StatusConflict
		case r.Method == http.MethodPost && n == 1:
			return http.StatusServiceUnavailable
		}
		return 0
	})
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(`
main
steps:
  - {id: silence, retry: {attempts: 1}, http: {method: POST, url: "%[1]s/silences"}, outputs: {n: {type: integer, value: response.body.n}}, compensate: {http: {method: DELETE, url: "%[1]s/silences/${steps.silence.n}"}}}
  - {id: refuse, retry: {attempts: 1}, http: {method: POST, url: "%[1]s/refuse"}, outputs: {n: {type: integer, value: response.body.n}}, compensate: {http: {method: DELETE, url: "%[1]s/refuse/${steps.refuse.n}"}}}
  - {id: release, needs: [silence, refuse], uses: release}
`, o.URL))
	w.work()
	w.ended(run)
	w.idle()
	asked := o.Asked()
	slices.Sort(asked)
	if diff := cmp.Diff([]string{"DELETE /silences/2", "POST /refuse", "POST /refuse", "POST /silences", "POST /silences"}, asked); diff != "" {
		t.Error(diff)
	}
	if keys := o.Keys("POST /silences"); keys[0] != keys[1] {
		t.Errorf("asked with keys %v", keys)
	}
	if f, err := w.runner.Runs.NotUndone(t.Context(), w.pool, run.ID); f != nil || err != nil {
		t.Error(f, err)
	}
}

// A worker has claimed the job of a run, and not begun it, when the next one is scheduled; it learns of that when it has asked for
// something.
func TestARunIsUndoneThatBeganAfterTheNextOneWasScheduled(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	a := w.app("shop")
	run := w.along(a, w.build("shop", image("shop:1")), fmt.Sprintf(askAfterFirst, o.URL))
	if _, err := w.pool.Exec(t.Context(), `DELETE FROM jobs`); err != nil {
		t.Fatal(err)
	}
	next := w.schedule(a, w.build("shop", image("shop:2")))
	if err := w.turn(run, 1); !queue.IsSnooze(err) {
		t.Fatal(err)
	}
	w.tx(func(tx pgx.Tx) error {
		return w.runner.onEnd(t.Context(), tx, &queue.Job{Args: fmt.Appendf(nil, `{"run": %d}`, run.ID)}, queue.ErrSuperseded)
	})
	w.work()
	w.ended(next)
	if diff := cmp.Diff([]string{"POST /first", "GET /second", "DELETE /first"}, o.Asked()); diff != "" {
		t.Error(diff)
	}
}

// An undo that failed for good and is tried again leaves nothing to tell; what it changes it changes in the order in which
// all take their locks.
func TestAnUndoThatIsTriedAgainClearsWhatWasTold(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	a := w.app("shop")
	run := w.along(a, w.build("shop", image("shop:1")), fmt.Sprintf(askAfterFirst, o.URL))
	if err := w.turn(run, 1); !queue.IsSnooze(err) {
		t.Fatal(err)
	}
	job := &queue.Job{Args: fmt.Appendf(nil, `{"run": %d}`, run.ID)}
	w.tx(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM jobs`)
		return errors.Join(err, w.runner.onEnd(t.Context(), tx, job, queue.Bury(fault.New(fault.RequestRefused, "no"))))
	})
	w.tx(func(tx pgx.Tx) error {
		return w.runner.undoEnded(t.Context(), tx, job, fault.New(fault.ConfigNewer, "cannot read the paths"))
	})
	if f, err := w.runner.Runs.NotUndone(t.Context(), w.pool, run.ID); f == nil || err != nil {
		t.Error(f, err)
	}
	locks := make(chan int, 9)
	w.runner.Changed = func(ctx context.Context, tx pgx.Tx, _ ...Run) error {
		var n int
		err := tx.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()`).Scan(&n)
		locks <- n
		return err
	}
	w.work()
	if n := <-locks; n == 0 {
		t.Error("commits are told of before the application's key is locked")
	}
	w.idle()
	if f, err := w.runner.Runs.NotUndone(t.Context(), w.pool, run.ID); f != nil || err != nil || !slices.Contains(o.Asked(), "DELETE /first") {
		t.Error(f, err, o.Asked())
	}
}

// What needs a step is undone before it, whatever the clock says of when they were done; what cannot be undone for now keeps
// only those back that it needs.
func TestAStepIsUndoneBehindThoseThatNeedIt(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	o.On(func(r *http.Request, n int) int {
		switch {
		case r.URL.Path == "/tell":
			return http.StatusBadRequest
		case r.Method == http.MethodDelete && r.URL.Path == "/site/b" && n <= 2:
			return http.StatusServiceUnavailable
		}
		return 0
	})
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(`
main
steps:
  - {id: sites, needs: [open], for_each: "['a', 'b']", http: {method: POST, url: "%[1]s/site/${each.value}"}, compensate: {http: {method: DELETE, url: "%[1]s/site/${each.value}"}}}
  - {id: open, http: {method: POST, url: "%[1]s/open"}, compensate: {http: {method: DELETE, url: "%[1]s/open"}}}
  - {id: tell, needs: [sites], retry: {attempts: 1}, http: {method: POST, url: "%[1]s/tell"}}
  - {id: release, needs: [tell], uses: release}
`, o.URL))
	// The clock is set back after the first step.
	if _, err := w.pool.Exec(t.Context(), `CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.finished_at := now() - interval '1 hour'; RETURN NEW; END $$;
CREATE TRIGGER back BEFORE UPDATE ON steps FOR EACH ROW WHEN (NEW.name LIKE 'sites%' AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION back()`); err != nil {
		t.Fatal(err)
	}
	w.work()
	if run = w.ended(run); run.State != Failed {
		t.Errorf("the run is %s", run.State)
	}
	w.idle()
	var undone []string
	for _, asked := range o.Asked() {
		if strings.HasPrefix(asked, "DELETE ") {
			undone = append(undone, strings.TrimPrefix(asked, "DELETE "))
		}
	}
	if diff := cmp.Diff([]string{"/site/b", "/site/a", "/site/b", "/site/b", "/open"}, undone); diff != "" {
		t.Error(diff)
	}
}

// What is never undone is told with its cause, and keeps what it needs from being undone for as long as it is tried.
func TestWhatIsNeverUndoneKeepsNothingFromItInTheEnd(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	o.On(func(r *http.Request, _ int) int {
		if r.Method == http.MethodDelete && r.URL.Path == "/second" {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	run := w.along(w.app("shop"), w.build("shop", image("shop:1")), fmt.Sprintf(`
main
steps:
  - {id: first, http: {method: POST, url: "%[1]s/first"}, compensate: {http: {method: DELETE, url: "%[1]s/first"}}}
  - {id: second, needs: [first], http: {method: POST, url: "%[1]s/second"}, compensate: {http: {method: DELETE, url: "%[1]s/second"}}}
  - {id: ask, needs: [second], approval: {}}
  - {id: release, needs: [ask], uses: release}
`, o.URL))
	if err := w.turn(run, 1); !queue.IsSnooze(err) {
		t.Fatal(err)
	}
	w.tx(func(tx pgx.Tx) error {
		_, _, err := w.runner.Runs.end(t.Context(), tx, run.ID, Cancelled, nil)
		return err
	})
	for attempt := 2; attempt <= 3; attempt++ {
		job := &queue.Job{Key: besideKey(run), Args: fmt.Appendf(nil, `{"run": %d}`, run.ID), Token: int64(attempt), Attempt: attempt, MaxAttempts: 3}
		err := w.runner.workUndo(t.Context(), job)
		if undone := slices.Contains(o.Asked(), "DELETE /first"); fault.ClassOf(err) != fault.Retryable || undone != (attempt == 3) {
			t.Errorf("attempt %d: %v, asked %v", attempt, err, o.Asked())
		}
		told, err := w.runner.Runs.NotUndone(t.Context(), w.pool, run.ID)
		if err != nil || told == nil || !strings.Contains(told.Message, "step second of run") || !strings.Contains(told.Message, "503") ||
			strings.HasSuffix(told.Message, "(and 1 more)") != (attempt == 2) {
			t.Error(told, err)
		}
	}
}
