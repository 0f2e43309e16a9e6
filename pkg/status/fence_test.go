package status_test

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/forge/fake"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/status"
)

// stop is a place in a call of the forge at which the first who comes by stands still until it is told to go on.
type stop struct {
	reached, resume chan struct{}
	taken           atomic.Bool
	once            sync.Once
}

func newStop(t *testing.T) *stop {
	s := &stop{reached: make(chan struct{}), resume: make(chan struct{})}
	t.Cleanup(s.goOn)
	return s
}

func (s *stop) goOn() { s.once.Do(func() { close(s.resume) }) }

// pass says whether the caller was the one who had to stop.
func (s *stop) pass() bool {
	if !s.taken.CompareAndSwap(false, true) {
		return false
	}
	close(s.reached)
	<-s.resume
	return true
}

// happens waits until a channel is closed.
func (d *desk) happens(what string, c <-chan struct{}) {
	d.t.Helper()
	d.until(what, func() bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	})
}

// sleeper runs a worker that takes one job at a time, gives no sign of life and hears of nothing, as a process does that
// is stopped; what it returns is closed when its first job has returned.
func (d *desk) sleeper() (awake <-chan struct{}) {
	d.t.Helper()
	q, handler, returned := d.queue, d.outbox.Handler(), make(chan struct{})
	work, once := handler.Work, atomic.Bool{}
	handler.Work = func(ctx context.Context, job *queue.Job) error {
		err := work(context.WithoutCancel(ctx), job)
		if once.CompareAndSwap(false, true) {
			close(returned)
		}
		return err
	}
	d.queue = queue.New(d.pool, queue.Config{
		Workers: 1, Poll: 20 * time.Millisecond, Lease: time.Second, Heartbeat: time.Hour, Reap: time.Hour,
	})
	d.queue.Handle(status.JobKind, handler)
	d.run()
	d.queue = q
	return returned
}

// A worker is stopped, another one takes its job over and says what is newer, and then the first one goes on.
func TestAWorkerThatLostItsLeaseLeavesNothingBehindAtTheForge(t *testing.T) {
	t.Parallel()
	pending, text := func(d *desk) status.Report { return d.status("c", forge.Pending) }, func(d *desk) status.Report { return d.comment("old") }
	success, newer := func(d *desk) status.Report { return d.status("c", forge.Success) }, func(d *desk) status.Report { return d.comment("new") }
	for name, c := range map[string]struct {
		// method is where it stops: before the call, or after it if that is set.
		method string
		after  bool
		// fails says that the call fails in the end.
		fails bool
		// before is said before the worker comes, first is what it is stopped with, then what is said meanwhile.
		before, first, then func(*desk) status.Report
		want                []string
	}{
		"StatusOnItsWay":         {method: "SetStatus", first: pending, then: success, want: []string{"success", "pending", "success"}},
		"StatusWithoutAnAnswer":  {method: "SetStatus", after: true, first: pending, then: success, want: []string{"pending", "success", "success"}},
		"StatusThatFails":        {method: "SetStatus", fails: true, first: success, then: success, want: []string{"success", "success"}},
		"CommentNotYetOnItsWay":  {method: "Comments", after: true, first: text, then: newer, want: []string{"CreateComment"}},
		"CommentOnItsWay":        {method: "CreateComment", first: text, then: newer, want: []string{"CreateComment", "CreateComment", "EditComment", "DeleteComment"}},
		"CommentWithoutAnAnswer": {method: "CreateComment", after: true, first: text, then: newer, want: []string{"CreateComment", "EditComment", "EditComment"}},
		"EditOnItsWay": {
			method: "EditComment", before: func(d *desk) status.Report { return d.comment("oldest") }, first: text, then: newer,
			want: []string{"CreateComment", "EditComment", "EditComment", "EditComment"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, s := newDesk(t), newStop(t)
			if c.before != nil {
				end := d.run()
				d.say(c.before(d))
				d.settled()
				end()
			}
			hook := func(call fake.Call) error {
				if call.Method == c.method && s.pass() && c.fails {
					return fault.New(fault.ForgeUnavailable, "connection reset")
				}
				return nil
			}
			if c.after {
				d.forge.After(hook)
			} else {
				d.forge.Before(func(_ context.Context, call fake.Call) error { return hook(call) })
			}
			awake := d.sleeper()
			d.say(c.first(d))
			d.happens("it stops", s.reached)
			then := c.then(d)
			d.say(then)
			d.run()
			d.settled()
			s.goOn()
			d.happens("it has gone on", awake)
			d.settled()
			if got := d.row(then); got.Fault != nil || got.Attempts != 0 {
				t.Errorf("the row of the other worker is %+v", got)
			}
			var got []string
			for _, call := range d.forge.Calls() {
				got = append(got, cmp.Or(string(call.State), call.Method))
			}
			if diff := gocmp.Diff(c.want, got); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if shown := d.forge.Statuses(onForge, d.commit)["c"].State; then.Kind == status.KindStatus && shown != forge.Success {
				t.Errorf("the forge shows %s", shown)
			}
			if shown := d.comments(); then.Kind == status.KindComment && !slices.Equal(shown, []string{"new"}) {
				t.Errorf("the forge shows %q", shown)
			}
		})
	}
}

// What the late worker wants repaired, the owner must not take for done.
func TestWhatArrivesLateIsSaidAgainAlsoWhileTheOwnerIsAtIt(t *testing.T) {
	t.Parallel()
	d, late, owner := newDesk(t), newStop(t), newStop(t)
	d.forge.Before(func(_ context.Context, call fake.Call) error {
		if call.State == forge.Pending {
			late.pass()
		}
		return nil
	})
	d.forge.After(func(call fake.Call) error {
		if call.State == forge.Success {
			owner.pass()
		}
		return nil
	})
	awake := d.sleeper()
	d.say(d.status("c", forge.Pending))
	d.happens("it stops", late.reached)
	d.say(d.status("c", forge.Success))
	d.run()
	d.happens("the owner speaks", owner.reached)
	late.goOn()
	d.happens("it has gone on", awake)
	owner.goOn()
	d.settled()
	if got := d.forge.Statuses(onForge, d.commit)["c"].State; got != forge.Success {
		t.Errorf("the forge shows %s", got)
	}
}

func TestNotesWhatWasSentThoughTheDatabaseFailsForAMoment(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, err := d.pool.Exec(t.Context(), `CREATE SEQUENCE tries;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF nextval('tries') < 3 THEN RAISE 'the disk is full'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE UPDATE OF sent ON reports FOR EACH ROW EXECUTE FUNCTION fail()`)
	if err != nil {
		t.Fatal(err)
	}
	d.run()
	d.say(d.status("c", forge.Success))
	d.settled()
	if got := d.forge.Calls(); len(got) != 1 {
		t.Errorf("it was said %d times", len(got))
	}
}
