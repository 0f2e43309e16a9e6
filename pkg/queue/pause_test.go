package queue_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

func TestPromiseAPausedQueueOrKindStaysPausedAcrossRestarts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ kind, goesOn string }{"queue": {"", ""}, "kind": {"a", "b"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testPause(t, test.kind, test.goesOn)
		})
	}
}

func testPause(t *testing.T, kind, goesOn string) {
	// polls is in how many turns a job would have been taken that is not.
	const polls = 10
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Poll = 20 * time.Millisecond
	started := make(chan string, 9)
	handler := work(func(_ context.Context, job *queue.Job) error {
		started <- job.Kind
		return nil
	})
	start := func() (q *queue.Queue, stop func()) {
		var stops []func() error
		for _, q = range replicas(t, pool.Config().ConnString(), cfg, map[string]queue.Handler{"a": handler, "b": handler}) {
			stops = append(stops, run(t, q))
		}
		return q, func() {
			for _, stop := range stops {
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	q, stop := start()
	if err := q.Pause(t.Context(), kind, "ann", "the forge is down"); err != nil {
		t.Fatal(err)
	}
	enqueue(t, pool, q, queue.Insert{Kind: "a", Key: "1"})
	stop()
	q, stop = start()
	if goesOn != "" {
		enqueue(t, pool, q, queue.Insert{Kind: goesOn, Key: "2"})
		if got := receive(t, "the other kind", started); got != goesOn {
			t.Errorf("%s started", got)
		}
	}
	select {
	case got := <-started:
		t.Errorf("%s started while %q was paused", got, kind)
	case <-time.After(polls * cfg.Poll):
	}
	pauses, err := q.Pauses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []queue.Pause{{Kind: kind, By: "ann", Reason: "the forge is down"}}
	if diff := cmp.Diff(want, pauses, cmpopts.IgnoreFields(queue.Pause{}, "At")); diff != "" {
		t.Error(diff)
	}
	stop()
	cfg.Poll = time.Hour // Workers learn of the end by notification.
	q, _ = start()
	if err := q.Resume(t.Context(), kind, "bob"); err != nil {
		t.Fatal(err)
	}
	receive(t, "the job", started)
	wantCode(t, q.Resume(t.Context(), kind, "bob"), fault.QueueNotPaused)
}

func TestAKindThatDoesNotExistIsNotPaused(t *testing.T) {
	t.Parallel()
	q := queue.New(testenv.Pool(t), quick())
	q.Handle("report", work(done))
	err := q.Pause(t.Context(), "reprot", "ann", "typing error")
	wantCode(t, err, fault.QueueKindUnknown)
}
