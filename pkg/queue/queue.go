package queue

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	crand "crypto/rand"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Defaults of [Config].
const (
	DefaultWorkers   = 16
	DefaultLease     = 10 * time.Second
	DefaultHeartbeat = DefaultLease / 3
	DefaultPoll      = 5 * time.Second
	DefaultReap      = 400 * time.Millisecond
	DefaultSweep     = time.Minute
	DefaultMaintain  = 10 * time.Minute
	DefaultRetention = 30 * 24 * time.Hour
	DefaultGrace     = 20 * time.Second
	DefaultStop      = 10 * time.Second
	DefaultBury      = 10 * time.Minute
)

const (
	// textLimit bounds error texts and notes kept with a job, in bytes.
	textLimit = 4096
	// jitter is by how much periods vary, so that processes started together do not act together for ever.
	jitter = 0.2
	// wakeHorizon is how far ahead a delayed job gets a timer; polling finds later ones.
	wakeHorizon = 10 * time.Minute
)

// Config says how a queue works in this process. The zero value works; durations of 0 mean the default.
type Config struct {
	// Workers is how many handlers run at once here. As many jobs again may be on their way to their end.
	Workers int
	// PerRepository is how many jobs of one [Insert.Owner] run at once in the whole installation, PerOwner how many of all
	// whose Owner is the same up to the first slash. 0 means no limit. The bounds are hard among processes that have the
	// same limits; with limits, claims of all processes take turns.
	PerRepository, PerOwner int
	// Name stands for this process in the jobs it runs; "" means host name, process id and a random part. It must differ
	// between processes and starts.
	Name string
	// Lease is how long a job stays taken after the last sign of life of its worker: the time to take over after a
	// crash. Shorter means more false alarms when the database or the machine is slow.
	Lease time.Duration
	// Heartbeat is how often leases are renewed: at least two must fit into Lease.
	Heartbeat time.Duration
	// Poll is how often idle workers look for jobs that no notification told of.
	Poll time.Duration
	// Reap is how often leases of other workers are looked at: a job is taken over at most Lease and twice this after the
	// last sign of life of its worker. Schedules and cancelled jobs that do not stop are looked for as often.
	Reap time.Duration
	// Sweep is how often each process measures depths and looks for stranded jobs.
	Sweep time.Duration
	// Maintain is how often, in the whole installation, partitions of the history are made and old ones dropped.
	Maintain time.Duration
	// Retention is how long finished jobs are kept, and up to a week more; below 0 for ever.
	Retention time.Duration
	// Grace is how long jobs may go on when the process is asked to stop, before they are cancelled with [ErrShutdown].
	Grace time.Duration
	// Stop is how long cancelled jobs may take to return.
	Stop time.Duration
	// Bury is how long a process looks after an abandoned job whose end cannot be told, because no process has its handler or its
	// OnEnd fails each time. Then it is buried without, so that it does not hold its key for ever.
	Bury time.Duration
	// Listen has the settings of the listening connection; nil means the pool's. Needed when the pool leads through
	// PgBouncer.
	Listen *pgx.ConnConfig
	// Log gets one line per failed attempt and per change that a person may want to know of.
	Log zerolog.Logger
	// Redact takes secrets out of error texts before they are stored; nil keeps them as they are.
	Redact func(string) string
	// Random returns numbers from 0 to 1 for jitter; nil means math/rand.
	Random func() float64
}

// Queue is a handle on the jobs in one database. It is safe for use by several goroutines.
type Queue struct {
	pool    *pgxpool.Pool
	cfg     Config
	metrics metrics
	// wake tells the claiming loop, if one runs here, that something may be ready.
	wake chan struct{}

	mu        sync.RWMutex
	handlers  map[string]Handler
	schedules []schedule
}

// New makes a queue on a migrated database. It does nothing until [Queue.Run]; the other methods work without it.
func New(pool *pgxpool.Pool, cfg Config) *Queue {
	cfg.Workers = orDefault(cfg.Workers, DefaultWorkers)
	cfg.Lease = orDefault(cfg.Lease, DefaultLease)
	cfg.Heartbeat = orDefault(cfg.Heartbeat, DefaultHeartbeat)
	cfg.Poll = orDefault(cfg.Poll, DefaultPoll)
	cfg.Reap = orDefault(cfg.Reap, DefaultReap)
	cfg.Sweep = orDefault(cfg.Sweep, DefaultSweep)
	cfg.Maintain = orDefault(cfg.Maintain, DefaultMaintain)
	cfg.Retention = orDefault(cfg.Retention, DefaultRetention)
	cfg.Grace = orDefault(cfg.Grace, DefaultGrace)
	cfg.Stop = orDefault(cfg.Stop, DefaultStop)
	cfg.Bury = orDefault(cfg.Bury, DefaultBury)
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Name == "" {
		cfg.Name = processName()
	}
	q := &Queue{pool: pool, cfg: cfg, metrics: newMetrics(), wake: make(chan struct{}, 1), handlers: map[string]Handler{}}
	q.Handle(maintenance, Handler{Work: q.maintain})
	q.Every(maintenance, cfg.Maintain)
	return q
}

func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), crand.Text()[:6])
}

// Handle sets the handler of a kind. Jobs of kinds without a handler here are left to other processes.
func (q *Queue) Handle(kind string, h Handler) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.handlers[kind] = h
}

// Collectors returns the queue's metrics, for the caller to register.
func (q *Queue) Collectors() []prometheus.Collector { return q.metrics.all() }

func (q *Queue) handler(kind string) (Handler, bool) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	h, ok := q.handlers[kind]
	return h, ok
}

func (q *Queue) kinds() []string {
	q.mu.RLock()
	defer q.mu.RUnlock()
	kinds := make([]string, 0, len(q.handlers))
	for kind := range q.handlers {
		kinds = append(kinds, kind)
	}
	return kinds
}

func (q *Queue) maxAttempts(kind string) int {
	h, _ := q.handler(kind)
	return orDefault(h.MaxAttempts, DefaultMaxAttempts)
}

// wakeNow has the claiming loop look for jobs. It never blocks.
func (q *Queue) wakeNow() {
	select {
	case q.wake <- struct{}{}:
	default: // A wake-up is pending already.
	}
}

// wakeAt has the claiming loop look when a delayed job may start. The clocks may differ: polling finds it then.
func (q *Queue) wakeAt(at time.Time) {
	if at.IsZero() {
		return
	}
	q.wakeIn(time.Until(at))
}

func (q *Queue) wakeIn(d time.Duration) {
	if d <= wakeHorizon {
		time.AfterFunc(max(d, 0), q.wakeNow)
	}
}

// vary returns d with jitter.
func (q *Queue) vary(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter/2 + jitter*q.cfg.Random()))
}

// text makes an error's text fit to be stored: without secrets, of bounded length, and without what Postgres refuses.
func (q *Queue) text(s string) string {
	if q.cfg.Redact != nil {
		s = q.cfg.Redact(s)
	}
	return cut(strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�"), textLimit)
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
