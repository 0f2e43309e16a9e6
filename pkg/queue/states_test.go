package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// Whatever happens to jobs, the database sees their rows go the ways that are drawn: no others, and each of them.
func TestJobsGoTheWaysThatAreDrawn(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	live := testenv.Transitions(t, pool, "jobs")
	for _, statement := range []string{
		`CREATE TABLE seen_ends (id bigint, was smallint)`,
		`CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen_ends VALUES (OLD.id, OLD.state); RETURN NULL; END $$`,
		`CREATE TRIGGER note_end AFTER DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION note_end()`,
	} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	q := queue.New(pool, quick())
	began := make(chan int64, 9)
	q.Handle("ends", soon(queue.Handler{MaxAttempts: 2, Work: func(_ context.Context, job *queue.Job) error {
		if job.Attempt == 1 {
			return errors.New("once more")
		}
		return nil
	}}))
	q.Handle("dies", work(func(context.Context, *queue.Job) error { return fault.New(fault.JobInvalid, "never") }))
	q.Handle("waits", work(func(ctx context.Context, job *queue.Job) error {
		began <- job.ID
		select {
		case <-job.Superseded():
			return queue.ErrSuperseded
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	cancel := func(id int64) {
		t.Helper()
		if err := q.Cancel(t.Context(), id, "enough"); err != nil {
			t.Fatal(err)
		}
	}
	// What waits: ready ones that are cancelled and superseded, blocked ones too.
	out := enqueue(t, pool, q, queue.Insert{Kind: "ends", Key: "a"}, queue.Insert{Kind: "ends", Key: "a"}, queue.Insert{Kind: "ends", Key: "a"},
		queue.Insert{Kind: "waits", Key: "b", Generation: 1})
	cancel(out[2].ID)
	cancel(out[0].ID)
	enqueue(t, pool, q, queue.Insert{Kind: "waits", Key: "b", Generation: 2})
	run(t, q)
	receive(t, "the job of b", began)
	enqueue(t, pool, q, queue.Insert{Kind: "waits", Key: "b", Generation: 3}) // waits, and supersedes the one that runs
	last := receive(t, "the newest job of b", began)
	cancel(last)
	wantState(t, q, last, queue.Cancelled)
	out = enqueue(t, pool, q, queue.Insert{Kind: "waits", Key: "c"}, queue.Insert{Kind: "ends", Key: "c", Generation: 1})
	head := receive(t, "the job of c", began)
	enqueue(t, pool, q, queue.Insert{Kind: "ends", Key: "c", Generation: 2}) // supersedes one that is blocked
	cancel(head)
	dead := enqueue(t, pool, q, queue.Insert{Kind: "dies", Key: "d"})
	wantState(t, q, dead[0].ID, queue.Dead)
	wantState(t, q, out[1].ID, queue.Superseded)
	until(t, "all jobs have ended", func() bool {
		stats, err := q.Stats(t.Context())
		return err == nil && count(stats, "ends")+count(stats, "waits") == 0
	})

	var want []string
	for from, all := range queue.Transitions() {
		for _, to := range all {
			want = append(want, fmt.Sprintf("%d %d", from, to))
		}
	}
	rows, err := pool.Query(t.Context(), `SELECT DISTINCT was || ' ' || state FROM seen_ends JOIN job_history USING (id)`)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	seen = append(seen, live()...)
	slices.Sort(want)
	slices.Sort(seen)
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(- drawn, + seen): %s", diff)
	}
}

func count(stats []queue.Stat, kind string) (n int64) {
	for _, s := range stats {
		if s.Kind == kind {
			n += s.Count
		}
	}
	return n
}
