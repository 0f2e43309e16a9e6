package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
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
			if err := p.enqueue(ctx, pool, 1, 1); err != nil {
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
		m.tell("idle: enqueue to start", p.name, "p50 %.1f ms, p99 %.1f ms", ms(took[samples/2]), ms(took[samples*99/100]))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// recovery measures how long the job of a worker that is killed takes to run again, with another worker there.
func (m *measurement) recovery(ctx context.Context) error {
	for _, p := range peers {
		if p.recovers == 0 {
			m.tell("kill -9 to running again", p.name, "an hour (its default; not measured)")
			continue
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
	if err := p.enqueue(ctx, pool, 1, hangs); err != nil {
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
	m.tell("kill -9 to running again", p.name, "%.1f s", time.Since(killed).Seconds())
	return nil
}
