package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// latency measures one job at a time, from the commit of its enqueueing to its start, in a process that has nothing to do.
func (m *measurement) latency(ctx context.Context) error {
	const samples = 300
	for _, p := range peers {
		_, pool, err := m.database(ctx, p)
		if err != nil {
			return err
		}
		started := make(chan time.Time, 1)
		ctx, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			ended <- p.work(ctx, pool, 16, func(context.Context, int) { started <- time.Now() })
		}()
		var took []time.Duration
		for range samples {
			// At no fixed distance from the job before, so that no timer is in step.
			<-time.After(5*time.Millisecond + rand.N(50*time.Millisecond))
			if err := p.enqueue(ctx, pool, 1, 1, 0); err != nil {
				stop()
				return err
			}
			committed := time.Now()
			took = append(took, max(0, (<-started).Sub(committed)))
		}
		stop()
		if err := <-ended; err != nil && ctx.Err() == nil {
			return err
		}
		pool.Close()
		slices.Sort(took)
		m.tell(figure{What: "idle: enqueue to start, p50", Who: p.name, Value: ms(took[samples/2]), Unit: "ms"})
		m.tell(figure{What: "idle: enqueue to start, p99", Who: p.name, Value: ms(took[samples*99/100]), Unit: "ms"})
	}
	return nil
}

const (
	// loadTime is how long jobs come, and rate how many of them in a second at most: what one key does without a queue in front of it
	// is bounded by the disk.
	loadTime = 5 * time.Second
	rate     = 300
	// rateOfKey is the most for each key, a tenth of what one does without others that enqueue.
	rateOfKey = 50
	// senders enqueue at once.
	senders = 8
)

// underLoad measures how long jobs take from their enqueueing to their start while they come at a steady rate, each by itself, as
// the database's clock has it.
func (m *measurement) underLoad(ctx context.Context) error {
	for _, l := range loads() {
		if err := m.underLoadOf(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", l.peer.name, err)
		}
	}
	return nil
}

func (m *measurement) underLoadOf(ctx context.Context, l load) error {
	where, pool, err := m.database(ctx, l.peer)
	if err != nil {
		return err
	}
	defer pool.Close()
	workers, err := startWorkers(l.peer, where, l.processes)
	if err != nil {
		return err
	}
	defer workers.kill()
	workers.goOn()
	perSecond := min(rate, rateOfKey*l.keys)
	jobs := perSecond * int(loadTime/time.Second)
	var next atomic.Int64
	sending, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range senders {
		sending.Go(func() error {
			for n := int(next.Add(1)); n <= jobs; n = int(next.Add(1)) {
				<-time.After(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))))
				if err := l.peer.enqueue(ctx, pool, 1, l.keys, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := sending.Wait(); err != nil {
		return err
	}
	if err := l.done(context.WithoutCancel(ctx), pool, jobs); err != nil {
		return err
	}
	for _, p := range []float64{50, 99} {
		var value float64
		query := fmt.Sprintf("SELECT percentile_cont(%f) WITHIN GROUP (ORDER BY took) FROM (%s) t", p/100, l.peer.took)
		if err := pool.QueryRow(context.WithoutCancel(ctx), query).Scan(&value); err != nil {
			return err
		}
		m.tell(figure{What: fmt.Sprintf("%d jobs a second: %s, enqueue to start, p%.0f", perSecond, l, p), Who: l.peer.name, Value: value, Unit: "ms"})
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// recovery measures how long the job of a worker that is killed takes to run again, with another worker there.
func (m *measurement) recovery(ctx context.Context) error {
	for _, p := range peers {
		if p.recovers == 0 {
			continue // an hour by default
		}
		if err := m.recoveryOf(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (m *measurement) recoveryOf(ctx context.Context, p peer) error {
	url, pool, err := m.database(ctx, p)
	if err != nil {
		return err
	}
	defer pool.Close()
	first, err := startWorkers(p, url, 1)
	if err != nil {
		return err
	}
	defer first.kill()
	first.goOn()
	if err := p.enqueue(ctx, pool, 1, hangs, 0); err != nil {
		return err
	}
	if err := first.waitStart(time.Minute); err != nil {
		return err
	}
	second, err := startWorkers(p, url, 1)
	if err != nil {
		return err
	}
	defer second.kill()
	second.goOn()
	first.kill()
	killed := time.Now()
	if err := second.waitStart(p.recovers); err != nil {
		return err
	}
	m.tell(figure{What: "kill -9 to running again", Who: p.name, Value: time.Since(killed).Seconds(), Unit: "s"})
	return nil
}
