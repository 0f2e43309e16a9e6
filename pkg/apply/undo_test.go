package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

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
	begun, err := w.runner.begin(w.Context(), run.ID, token, 1)
	if err != nil {
		w.Fatal(err)
	}
	eng, err := (&execution{Runner: w.runner, run: begun}).prepare(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return eng.drive(w.Context(), &queue.Job{})
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

// What was replaced by a newer run along the path is left to that one; when that one is replaced before it began, nobody
// else goes through the path.
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
