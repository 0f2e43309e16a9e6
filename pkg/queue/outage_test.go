package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// traffic is enqueued and done by three replicas without a pause while something happens to the database.
type traffic struct {
	t       *testing.T
	pool    *pgxpool.Pool
	queues  []*queue.Queue
	busy    occupancy
	stopped chan struct{}
	all     sync.WaitGroup

	mu sync.Mutex
	// committed are the numbers whose enqueueing was acknowledged, ran are those that ran, by key.
	committed, ran map[string][]int
	// unknown is how many enqueueings were not acknowledged, guessed how many of those were committed all the same.
	unknown, guessed int
}

const trafficKeys = 8

// startTraffic runs replicas on the server and enqueues numbers for each key, one after the other.
func startTraffic(t *testing.T, cfg postgres.Config, settings queue.Config) *traffic {
	t.Helper()
	tr := &traffic{t: t, stopped: make(chan struct{}), committed: map[string][]int{}, ran: map[string][]int{}}
	open := func() *pgxpool.Pool {
		cfg.MaxConns, cfg.ConnectTimeout = 4, 2*time.Second
		pool, err := postgres.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	settings.Grace = patience // What is on its way may wait for the database.
	for range replicaCount {
		q := queue.New(open(), settings)
		q.Handle("k", queue.Handler{MaxAttempts: 100, BackoffBase: time.Millisecond, BackoffCap: 10 * time.Millisecond, Work: tr.work})
		tr.queues = append(tr.queues, q)
		run(t, q)
	}
	tr.pool = open()
	for key := range trafficKeys {
		tr.all.Go(func() { tr.enqueue(fmt.Sprint("key", key)) })
	}
	return tr
}

func (tr *traffic) work(_ context.Context, job *queue.Job) error {
	defer tr.busy.enter(tr.t, job.Key)()
	var n int
	if err := job.Bind(&n); err != nil {
		return err
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.ran[job.Key] = append(tr.ran[job.Key], n)
	return nil
}

// enqueue enqueues numbers until stop is called. One whose commit was not acknowledged may have been committed or not.
func (tr *traffic) enqueue(key string) {
	for n := 0; ; n++ {
		select {
		case <-tr.stopped:
			return
		case <-time.After(5 * time.Millisecond): // The pace.
		}
		ctx, cancel := context.WithTimeout(tr.t.Context(), 5*time.Second)
		err := pgx.BeginFunc(ctx, tr.pool, func(tx pgx.Tx) error {
			_, err := tr.queues[0].Enqueue(ctx, tx, queue.Insert{Kind: "k", Key: key, Args: n})
			return err
		})
		cancel()
		tr.mu.Lock()
		if err == nil {
			tr.committed[key] = append(tr.committed[key], n)
		} else {
			tr.unknown++
		}
		tr.mu.Unlock()
	}
}

// flows waits until more jobs have been done than before.
func (tr *traffic) flows() {
	tr.t.Helper()
	count := func() (n int) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for _, ran := range tr.ran {
			n += len(ran)
		}
		return n
	}
	before := count()
	until(tr.t, "jobs are done", func() bool { return count() > before+10*trafficKeys })
}

// settle stops the enqueueing, waits until all is done, and checks that nothing was lost or done in another order.
func (tr *traffic) settle() {
	tr.t.Helper()
	close(tr.stopped)
	tr.all.Wait()
	until(tr.t, "all jobs are done", func() bool {
		stats, err := tr.queues[0].Stats(tr.t.Context())
		return err == nil && !slices.ContainsFunc(stats, func(s queue.Stat) bool { return s.Kind == "k" })
	})
	tr.mu.Lock()
	defer tr.mu.Unlock()
	jobs := 0
	for key, committed := range tr.committed {
		// One whose worker could not write its end ran again: that is one number.
		ran := slices.Compact(tr.ran[key])
		jobs += len(committed)
		if !slices.IsSorted(ran) {
			tr.t.Errorf("%s ran in the order %v", key, ran)
		}
		tr.guessed += len(ran) - len(committed)
		for _, n := range committed {
			if !slices.Contains(ran, n) {
				tr.t.Errorf("number %d of %s was committed and never ran", n, key)
			}
		}
	}
	tr.t.Logf("%d jobs; of %d whose commit had no answer %d were committed", jobs, tr.unknown, tr.guessed)
}

func TestLosesNothingWhenPostgresIsRestarted(t *testing.T) {
	t.Parallel()
	server := testenv.NewServer(t, testenv.ServerConfig{})
	cfg := quick()
	cfg.Lease = patience // a restart of a loaded machine is shorter
	tr := startTraffic(t, postgres.Config{URL: server.URL()}, cfg)
	long, end := tr.long()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		tr.flows()
		if err := server.Restart(t.Context(), signal); err != nil {
			t.Fatal(err)
		}
	}
	tr.flows()
	end()
	if e := wantState(t, tr.queues[0], long, queue.Done); e.Attempt != 1 {
		t.Errorf("a job that ran all the time was taken from its worker: %+v", e.Failures)
	}
	tr.settle()
}

// long begins a job that runs until end is called, or its context ends.
func (tr *traffic) long() (id int64, end func()) {
	tr.t.Helper()
	release := make(chan struct{})
	for _, q := range tr.queues {
		q.Handle("long", work(func(ctx context.Context, job *queue.Job) error {
			defer tr.busy.enter(tr.t, job.Key)()
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}))
	}
	id = enqueue(tr.t, tr.pool, tr.queues[0], queue.Insert{Kind: "long", Key: "long"})[0].ID
	until(tr.t, "the long job runs", func() bool {
		e, err := tr.queues[0].Get(tr.t.Context(), id)
		return err == nil && e.State == queue.Running
	})
	return id, func() { close(release) }
}

func TestLosesNothingWhenTheStandbyIsPromoted(t *testing.T) {
	t.Parallel()
	pair := testenv.NewPair(t, testenv.ServerConfig{})
	tr := startTraffic(t, postgres.Config{URL: pair.URL()}, quick())
	tr.flows()
	began := time.Now()
	if err := pair.Failover(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.flows()
	t.Logf("jobs are done again %s after the primary was killed", time.Since(began))
	tr.settle()
}

func TestLosesNothingWhenTheDiskOfPostgresIsFull(t *testing.T) {
	t.Parallel()
	server := testenv.NewServer(t, testenv.ServerConfig{DiskMiB: 192, Settings: []string{"max_wal_size=64MB", "min_wal_size=32MB"}})
	tr := startTraffic(t, postgres.Config{URL: server.URL()}, quick())
	tr.flows()
	free, err := server.FillDisk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	failures := func() int {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.unknown
	}
	until(t, "commits fail", func() bool { return failures() > trafficKeys })
	if err := free(); err != nil {
		t.Fatal(err)
	}
	tr.flows()
	tr.settle()
}

func TestLosesNothingWhenTheAnswerToACommitIsLost(t *testing.T) {
	t.Parallel()
	server := testenv.NewServer(t, testenv.ServerConfig{})
	proxy := testenv.NewAnswerProxy(t, server.Address())
	tr := startTraffic(t, postgres.Config{URL: fmt.Sprintf("postgres://reconciler@%s/postgres", proxy.Address())}, quick())
	for range 20 {
		tr.flows()
		proxy.LoseAnswers()
	}
	tr.settle()
	if tr.guessed == 0 {
		t.Error("no answer to a commit was lost: the test shows nothing")
	}
	for _, q := range tr.queues {
		registry := prometheus.NewRegistry()
		registry.MustRegister(q.Collectors()...)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				for _, label := range m.GetLabel() {
					if label.GetName() == "outcome" && label.GetValue() == "lost" && m.GetCounter().GetValue() > 0 {
						t.Errorf("%v jobs count as lost, and all were done", m.GetCounter().GetValue())
					}
				}
			}
		}
	}
}

func TestWorksThroughPgBouncerInTransactionMode(t *testing.T) {
	t.Parallel()
	server := testenv.NewServer(t, testenv.ServerConfig{})
	direct, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	for name, listen := range map[string]*pgx.ConnConfig{"listening directly": direct, "polling": nil} {
		t.Run(name, func(t *testing.T) {
			settings := quick()
			settings.Listen = listen
			tr := startTraffic(t, postgres.Config{URL: testenv.PgBouncer(t, server), PgBouncer: true}, settings)
			tr.flows()
			tr.flows()
			tr.settle()
		})
	}
}
