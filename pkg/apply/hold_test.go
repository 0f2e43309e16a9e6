package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/queue"
)

// Who holds an application at night means the run, too, that somebody else approves meanwhile.
func TestAHoldStopsARunThatWaitsAndNoRollback(t *testing.T) {
	t.Parallel()
	w, o := newWorld(t), testenv.NewOffice(t)
	a := w.app("shop")
	w.work()
	w.deployed(a, w.build("shop", image("shop:1")))
	run := w.along(a, w.build("shop", image("shop:2")), fmt.Sprintf(`
main
steps:
  - {id: ask, approval: {}}
  - {id: tell, needs: [ask], http: {url: "%s/tell"}}
  - {id: release, needs: [tell], uses: release}
`, o.URL))
	w.until("it to ask", func() bool { return w.run(run.ID).Waits != "" })
	hold := func(h planner.Hold) {
		w.tx(func(tx pgx.Tx) error { return w.plans.SetHold(t.Context(), tx, a.ID, h) })
	}
	hold(planner.Hold{By: "eve", Reason: "stocktaking"})
	if err := w.runner.Decide(t.Context(), run.ID, Approval{Who: "ann", Approved: true}); err != nil {
		t.Fatal(err)
	}
	w.until("it to be held", func() bool { return w.run(run.ID).Waits == "held by eve: stocktaking" })
	if got := o.Asked(); len(got) > 0 {
		t.Errorf("while it was held it sent %v", got)
	}
	w.tx(func(tx pgx.Tx) error {
		if err := w.plans.LiftHold(t.Context(), tx, a.ID); err != nil {
			return err
		}
		return w.runner.Wake(t.Context(), tx, a.ID)
	})
	if ended := w.ended(run); ended.State != Succeeded {
		t.Fatalf("the run is %+v", ended)
	}
	if diff := cmp.Diff([]string{"ask succeeded", "tell succeeded", "release succeeded"}, w.states(run)[:3]); diff != "" {
		t.Error(diff)
	}

	hold(planner.Hold{By: "eve", Reason: "it does not sell"})
	var back Run
	w.tx(func(tx pgx.Tx) error {
		b, err := w.runner.Back(t.Context(), tx, w.application(a.ID), 1)
		if err == nil {
			back, err = w.runner.Again(t.Context(), tx, w.application(a.ID), b)
		}
		return err
	})
	if ended := w.ended(back); ended.State != Succeeded {
		t.Errorf("the rollback is %+v", ended)
	}
}

// What a person holds goes on to be held by them, since the same time, whatever becomes of a deployment meanwhile.
func TestAHoldKeepsItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	began := make(chan bool)
	w.target.on(func(ctx context.Context, _ Delivery) error {
		close(began)
		<-ctx.Done()
		return context.Cause(ctx)
	})
	w.work()
	run := w.schedule(a, w.build("shop", image("shop:1")))
	<-began
	w.tx(func(tx pgx.Tx) error {
		return w.plans.SetHold(t.Context(), tx, a.ID, planner.Hold{By: "eve", Reason: "stocktaking"})
	})
	before := w.application(a.ID).Hold
	w.cancel(run)
	after := w.application(a.ID).Hold
	if after.By != "eve" || !after.HoldsAll() || !after.Since.Equal(before.Since) || after.Reason != "stocktaking; generation 1 was cancelled" {
		t.Errorf("it is held by %+v", after)
	}
}

// The job of a run that failed may be tried again by hand where nothing newer is there: the run has ended all the same, and
// what is told of it stays.
func TestTheJobOfAnEndedRunIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	w.target.on(func(context.Context, Delivery) error { return queue.Bury(errors.New("the true reason")) })
	run := w.schedule(a, w.build("shop", image("shop:1")))
	w.work()
	w.ended(run)
	dead, err := w.queue.List(t.Context(), queue.Filter{Kind: JobKind, States: []queue.State{queue.Dead}})
	if err != nil || len(dead) != 1 {
		t.Fatal(dead, err)
	}
	why := w.application(a.ID).Hold.Reason
	id, err := w.queue.Retry(t.Context(), dead[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	w.until("it to be refused", func() bool {
		again, err := w.queue.Get(t.Context(), id)
		return err == nil && again.State == queue.Dead && len(again.Failures) == 1 && strings.Contains(again.Failures[0].Error, fmt.Sprintf("run %d has ended", run.ID))
	})
	if got := w.application(a.ID).Hold.Reason; got != why || !strings.Contains(why, "the true reason") {
		t.Errorf("it is held because %q", got)
	}
}
