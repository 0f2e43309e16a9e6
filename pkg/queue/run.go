package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/pkg/postgres"
)

const (
	// claimTimeout bounds one claim. It is not tied to the shutdown: a claim whose answer nobody reads would leave jobs
	// taken until their lease ends.
	claimTimeout = 10 * time.Second
	// errorPause is the wait after a failed claim.
	errorPause = 500 * time.Millisecond
)

// held is a job whose lease this process has.
type held struct {
	job    *Job
	cancel context.CancelCauseFunc
	// lost is closed when the lease is lost; nothing may be written then.
	lost chan struct{}
	once sync.Once
	// busy: its end waits for somebody who has its key. Its own goroutine's.
	busy bool

	// Guarded by worker.mu: until when the lease is surely ours, by this machine's monotonic clock, and whether the
	// handler has returned.
	validUntil time.Time
	settling   bool
}

func (h *held) lose() {
	h.once.Do(func() { close(h.lost) })
	h.cancel(ErrLeaseLost)
}

func (h *held) isLost() bool {
	select {
	case <-h.lost:
		return true
	default:
		return false
	}
}

// worker is one call of Run.
type worker struct {
	q        *Queue
	log      zerolog.Logger
	beatPool *pgxpool.Pool
	beatNow  chan struct{}
	done     chan completion
	tell     chan struct{}
	alone    chan struct{} // Places of inLine.
	jobs     sync.WaitGroup

	mu   sync.Mutex
	held map[int64]*held // By token: another attempt of a job may come while the handler of one that was lost goes on.
	more bool            // The last claim left some.

	// unclear is when to look for what claims have granted whose answer was lost; zero if none was. Whoever claims has it alone.
	unclear time.Time

	// The reaper's alone: what it saw of running jobs, the database's time and when it asked for that.
	seen              map[int64]sighting
	clock, clockAsked time.Time
}

// Run does jobs until ctx ends. Then it claims no more, gives those that run Config.Grace to end, cancels the rest with
// [ErrShutdown], waits Config.Stop for them, and returns nil, or an error that names jobs that did not stop.
func (q *Queue) Run(ctx context.Context) error { return q.worker().run(ctx) }

func (q *Queue) worker() *worker {
	return &worker{
		q: q, log: q.cfg.Log, beatNow: make(chan struct{}, 1), done: make(chan completion), tell: make(chan struct{}, 1), held: map[int64]*held{},
		alone: make(chan struct{}, max(1, q.pool.Config().MaxConns/alonePart)),
	}
}

func (w *worker) run(ctx context.Context) error {
	q := w.q
	q.metrics.known(q.kinds())
	// Heartbeats have a connection of their own: handlers that take all of the pool's must not cost us our leases.
	pc := q.pool.Config()
	pc.MaxConns, pc.MinConns, pc.MinIdleConns = 1, 0, 0
	// What keeps jobs alive ends after the jobs, hence not with ctx.
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	beatPool, err := pgxpool.NewWithConfig(base, pc)
	if err != nil {
		return fmt.Errorf("make the heartbeat's connection: %w", err)
	}
	defer beatPool.Close()
	w.beatPool = beatPool

	var background sync.WaitGroup
	for _, loop := range []func(context.Context){w.beat, w.watch, w.finishLoop, w.tellLoop, w.listen} {
		background.Go(func() { loop(base) })
	}
	for _, loop := range []func(context.Context){w.reapLoop, w.scheduleLoop, w.sweepLoop} {
		background.Go(func() { loop(ctx) })
	}
	w.claimLoop(ctx, base)
	err = w.drain()
	stop()
	background.Wait()
	return err
}

// drain waits for the running jobs in two stages.
func (w *worker) drain() error {
	idle := make(chan struct{})
	go func() {
		w.jobs.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-time.After(w.q.cfg.Grace):
	}
	for _, h := range w.holding() {
		h.cancel(ErrShutdown)
	}
	select {
	case <-idle:
		return nil
	case <-time.After(w.q.cfg.Stop):
	}
	var errs []error
	for _, h := range w.holding() {
		h.lose() // Nobody renews its lease any more, and nobody writes its end.
		errs = append(errs, fmt.Errorf("%s job %d of %s does not stop", h.job.Kind, h.job.ID, h.job.Key))
	}
	return errors.Join(errs...)
}

// holding returns what is held now.
func (w *worker) holding() []*held {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.held))
}

// places is how many handlers may start. Jobs whose end cannot be written do not pile up without bound: they and the running
// ones are at most twice the workers. Whoever asks has the lock.
func (w *worker) places() int {
	running := 0
	for _, h := range w.held {
		if !h.settling {
			running++
		}
	}
	return min(w.q.cfg.Workers-running, 2*w.q.cfg.Workers-len(w.held))
}

// listen wakes the other loops on notifications. They poll as well: a lost notification costs time, not jobs.
func (w *worker) listen(ctx context.Context) {
	conn := w.q.cfg.Listen
	if conn == nil {
		conn = w.q.pool.Config().ConnConfig
	}
	listener := postgres.NewListener(conn, w.log)
	listener.Subscribe(readyChannel, func(postgres.Notification) { w.q.wakeNow() })
	listener.Subscribe(signalChannel, func(n postgres.Notification) {
		if n.Connected || w.holds(n.Payload) {
			signal(w.beatNow)
		}
	})
	// It ends with ctx only.
	_ = listener.Run(ctx)
}

func (w *worker) holds(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.held {
		if fmt.Sprint(h.job.ID) == id {
			return true
		}
	}
	return false
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // Pending already.
	}
}

func (w *worker) start(base context.Context, c claimed, validUntil time.Time) {
	ctx, cancel := context.WithCancelCause(base)
	h := &held{job: c.job(), cancel: cancel, lost: make(chan struct{}), validUntil: validUntil}
	w.mu.Lock()
	w.held[h.job.Token] = h
	w.q.metrics.running.Set(float64(len(w.held)))
	w.mu.Unlock()
	w.jobs.Go(func() {
		defer cancel(nil)
		w.q.metrics.wait.WithLabelValues(c.Kind).Observe(float64(c.Waited) / 1e6)
		w.do(ctx, h)
		w.release(h)
	})
}

// release forgets jobs whose ends are written, all at once, so that the next claim can fill their places and take what their
// keys have next. Each end may have made one job ready for its key and one for its owner: what has no place here is others'.
func (w *worker) release(jobs ...*held) {
	w.mu.Lock()
	before := len(w.held)
	for _, h := range jobs {
		delete(w.held, h.job.Token)
	}
	gone := before - len(w.held)
	crowded := w.places() < 2*gone
	w.q.metrics.running.Set(float64(len(w.held)))
	w.mu.Unlock()
	if gone == 0 {
		return
	}
	w.q.wakeNow()
	if crowded {
		signal(w.tell)
	}
}

// tellPause is the least time between two times that a process wakes the others: a busy one ends jobs hundreds of times a second.
const tellPause = 50 * time.Millisecond

// tellLoop wakes the workers of other processes when there may be something for them.
func (w *worker) tellLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.tell:
		}
		telling, cancel := context.WithTimeout(ctx, claimTimeout)
		if _, err := w.q.pool.Exec(telling, sqlTell); err != nil && ctx.Err() == nil {
			w.log.Warn().Err(err).Msg("waking other workers failed; they look by themselves")
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-time.After(tellPause):
		}
	}
}
