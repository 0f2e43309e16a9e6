package queue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// patience is how long tests wait for what must happen. The machine may be busy.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if url := os.Getenv(workerVariable); url != "" {
		workUntilKilled(url)
	}
	testenv.Main(m)
}

// quick returns settings with a short lease, so that tests of crashes are short.
func quick() queue.Config {
	return queue.Config{
		Workers: 8, Lease: 3 * time.Second, Heartbeat: 300 * time.Millisecond, Poll: 200 * time.Millisecond,
		Reap: 100 * time.Millisecond, Grace: 5 * time.Second, Stop: 5 * time.Second,
	}
}

// run runs the queue until the test ends or the returned function is called.
func run(t testing.TB, q *queue.Queue) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return stop
}

func enqueue(t testing.TB, pool *pgxpool.Pool, q *queue.Queue, inserts ...queue.Insert) []queue.Enqueued {
	t.Helper()
	var out []queue.Enqueued
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		out, err = q.Enqueue(t.Context(), tx, inserts...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// until waits for look to say true.
func until(t testing.TB, what string, look func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !look() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// ends waits until the job has a final state and returns it.
func ends(t testing.TB, q *queue.Queue, id int64) queue.Entry {
	t.Helper()
	var entry queue.Entry
	until(t, fmt.Sprintf("job %d ends", id), func() bool {
		var err error
		if entry, err = q.Get(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return entry.FinishedAt != nil
	})
	return entry
}

func wantState(t testing.TB, q *queue.Queue, id int64, want queue.State) queue.Entry {
	t.Helper()
	entry := ends(t, q, id)
	if entry.State != want {
		t.Errorf("job %d ended %s, want %s: %+v", id, entry.State, want, entry.Failures)
	}
	return entry
}

func wantCode(t testing.TB, err error, code fault.Code) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		t.Errorf("got error %v, want a fault %s", err, code)
	}
}

func work(f func(ctx context.Context, job *queue.Job) error) queue.Handler {
	return queue.Handler{Work: f}
}

func done(context.Context, *queue.Job) error { return nil }

func TestRefusesTransactionsThatCannotSeeWhatWasCommittedBeforeTheLock(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	err := pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		_, err := q.Enqueue(t.Context(), tx, queue.Insert{Kind: "k", Key: "a"})
		return err
	})
	if err == nil {
		t.Error("repeatable read is accepted")
	}
}

func TestRefusesJobsThatBreakTheRules(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	for name, in := range map[string]queue.Insert{
		"no kind":           {Key: "a"},
		"no key":            {Kind: "k"},
		"long key":          {Kind: "k", Key: string(make([]byte, 600))},
		"no UTF-8":          {Kind: "k", Key: "\xff"},
		"zero byte":         {Kind: "k", Key: "a\x00b"},
		"priority":          {Kind: "k", Key: "a", Priority: new(int16(5))},
		"generation":        {Kind: "k", Key: "a", Generation: -1},
		"attempts":          {Kind: "k", Key: "a", MaxAttempts: 1000},
		"arguments no JSON": {Kind: "k", Key: "a", Args: make(chan int)},
		"long arguments":    {Kind: "k", Key: "a", Args: make([]byte, 1<<20)},
	} {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := q.Enqueue(t.Context(), tx, in)
			return err
		})
		if f, ok := fault.As(err); !ok || f.Code != fault.JobInvalid {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

func live(t testing.TB, q *queue.Queue) (n int64) {
	t.Helper()
	stats, err := q.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stats {
		n += s.Count
	}
	return n
}

func TestADelayedJobStartsAtItsTime(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Poll = time.Hour
	q := queue.New(pool, cfg)
	started := make(chan time.Time, 1)
	q.Handle("k", work(func(context.Context, *queue.Job) error {
		started <- time.Now()
		return nil
	}))
	run(t, q)
	at := time.Now().Add(300 * time.Millisecond)
	enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a", RunAt: at})
	if early := at.Sub(receive(t, "the job", started)); early > 0 {
		t.Errorf("started %s too early", early)
	}
}

// TestAPlaceIsFreeWhileTheEndOfItsJobIsWritten holds the locks of keys, so that no end of their jobs can be written: the place
// serves one more job meanwhile, and not any number.
func TestAPlaceIsFreeWhileTheEndOfItsJobIsWritten(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Workers, cfg.Lease = 1, time.Minute
	q := queue.New(pool, cfg)
	started, proceed := make(chan string, 3), make(chan struct{})
	q.Handle("k", work(func(_ context.Context, job *queue.Job) error {
		started <- job.Key
		<-proceed
		return nil
	}))
	var jobs []int64
	for _, key := range []string{"a", "b", "c"} {
		jobs = append(jobs, enqueue(t, pool, q, queue.Insert{Kind: "k", Key: key})[0].ID)
	}
	unlock := lockKeys(t, pool, "a", "b", "c")
	run(t, q)
	for _, want := range []string{"a", "b"} {
		if key := receive(t, "a start", started); key != want {
			t.Fatalf("%s starts, want %s", key, want)
		}
		proceed <- struct{}{}
	}
	select {
	case key := <-started:
		t.Errorf("%s starts while the ends of two jobs wait for one place", key)
	case <-time.After(3 * cfg.Poll):
	}
	unlock()
	close(proceed)
	for _, id := range jobs {
		wantState(t, q, id, queue.Done)
	}
}

// A job that comes while no place is free is taken as soon as a handler returns, even if that one's end cannot be written yet and
// nobody looks by himself.
func TestAPlaceIsFreeForWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Workers, cfg.Lease, cfg.Poll = 1, time.Minute, time.Hour
	q := queue.New(pool, cfg)
	started, proceed := make(chan string, 3), make(chan struct{})
	q.Handle("k", work(func(_ context.Context, job *queue.Job) error {
		started <- job.Key
		<-proceed
		return nil
	}))
	run(t, q)
	enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "a"})
	receive(t, "a start", started)
	lockKeys(t, pool, "a")
	for _, key := range []string{"b", "c"} { // the second one is told when the first one has been heard of
		enqueue(t, pool, q, queue.Insert{Kind: "k", Key: key})
		<-time.After(200 * time.Millisecond)
	}
	close(proceed)
	if key := receive(t, "a start", started); key != "b" {
		t.Errorf("%s starts", key)
	}
}

// One key that somebody has, for longer than one try to write ends takes, delays no other key's ends, and is no failure of its own
// job.
func TestALockedKeyDelaysNoOtherEnd(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Workers, cfg.Lease = 4, 3*time.Second
	q := queue.New(pool, cfg)
	var attempts atomic.Int32
	q.Handle("k", work(func(_ context.Context, job *queue.Job) error {
		attempts.Add(1)
		switch job.Key {
		case "later":
			return queue.Snooze(time.Hour, "for a while")
		case "dead":
			return queue.Bury(errors.New("there is no way"))
		}
		return nil
	}))
	locked := []string{"a", "b", "later", "dead"}
	unlock := lockKeys(t, pool, locked...)
	// Enqueueing waits for the key, too: these are put there as it does.
	for _, key := range append(locked, "c", "d") {
		if _, err := pool.Exec(t.Context(), `INSERT INTO jobs (run_at, due_at, state, priority, max_attempts, kind, key) VALUES (now(), now(), 1, 2, 8, 'k', $1)`, key); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func() string { return "" }
	began := time.Now()
	run(t, q)
	are := func(state queue.State, n int) bool {
		list, err := q.List(t.Context(), queue.Filter{Kind: "k", States: []queue.State{state}})
		return err == nil && len(list) == n
	}
	testenv.Until(t, "the ends of c and d", func() bool { return are(queue.Done, 2) }, nothing)
	if took := time.Since(began); took > cfg.Lease {
		t.Errorf("c and d took %s beside locked keys", took)
	}
	<-time.After(12 * time.Second) // one try takes 10
	unlock()
	testenv.Until(t, "all ends", func() bool { return are(queue.Done, 4) && are(queue.Ready, 1) && are(queue.Dead, 1) }, nothing)
	if n := attempts.Load(); n != 6 {
		t.Errorf("%d attempts of 6 jobs", n)
	}
}

// lockKeys keeps the ends of the keys' jobs from being written until the returned function is called.
func lockKeys(t *testing.T, pool *pgxpool.Pool, keys ...string) (unlock func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock = func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }
	t.Cleanup(unlock)
	if _, err := tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock(hashtextextended(key, 7)) FROM unnest($1::text[]) AS key", keys); err != nil {
		t.Fatal(err)
	}
	return unlock
}

// TestWhatHasNoPlaceHereIsOthers has a process end the first job of a key while its only place is taken already: the second
// one of the key starts in another process, which would look by itself in an hour.
func TestWhatHasNoPlaceHereIsOthers(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Workers, cfg.Lease, cfg.Poll = 1, time.Minute, time.Hour
	started, first, last := make(chan string, 3), make(chan struct{}), make(chan struct{})
	queues := replicas(t, pool.Config().ConnString(), cfg, map[string]queue.Handler{"k": work(func(_ context.Context, job *queue.Job) error {
		started <- job.Dedupe
		switch job.Dedupe {
		case "x1":
			<-first
		case "y":
			<-last
		}
		return nil
	})})
	add := func(key, name string) {
		enqueue(t, pool, queues[0], queue.Insert{Kind: "k", Key: key, Dedupe: name})
	}
	starts := func(want string) {
		t.Helper()
		if name := receive(t, "a start", started); name != want {
			t.Fatalf("%s starts, want %s", name, want)
		}
	}
	add("x", "x1")
	add("x", "x2")
	run(t, queues[0])
	t.Cleanup(sync.OnceFunc(func() { close(last) })) // Before the queues are stopped.
	starts("x1")
	unlock := lockKeys(t, pool, "x")
	close(first)
	add("y", "y")
	starts("y")
	run(t, queues[1])
	<-time.After(time.Second) // It has looked, and found nothing.
	unlock()
	starts("x2")
}

// TestADeafHandlerTakesAPlaceUntilItReturns has handlers go on although their job was taken from them: no more of them run than
// there are places, although each attempt is of the same job.
func TestADeafHandlerTakesAPlaceUntilItReturns(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Workers, cfg.Lease, cfg.Heartbeat = 2, time.Second, 100*time.Millisecond
	q := queue.New(pool, cfg)
	started, proceed := make(chan int, 10), make(chan struct{})
	q.Handle("deaf", queue.Handler{Timeout: 100 * time.Millisecond, BackoffBase: time.Millisecond, Work: func(_ context.Context, job *queue.Job) error {
		started <- job.Attempt
		<-proceed
		return nil
	}})
	enqueue(t, pool, q, queue.Insert{Kind: "deaf", Key: "a"})
	run(t, q)
	t.Cleanup(func() { close(proceed) }) // Before the queue is stopped.
	for range 2 {
		receive(t, "an attempt", started)
	}
	select {
	case attempt := <-started:
		t.Errorf("attempt %d runs beside two others", attempt)
	case <-time.After(queue.CancelGrace + 3*cfg.Lease):
	}
}
