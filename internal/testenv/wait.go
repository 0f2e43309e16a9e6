package testenv

import (
	"context"
	"fmt"
	"testing"
	"time"
)

const (
	// patience is how long a test waits for a state of the world that it knows to come; the machine may be busy.
	patience = 40 * time.Second
	// glance is the time between two looks.
	glance = 10 * time.Millisecond
)

// Until waits until ask says yes, and fails the test with what explain tells if that takes too long.
func Until(t testing.TB, what string, ask func() bool, explain func() string) {
	t.Helper()
	deadline, tick := time.NewTimer(patience), time.NewTicker(glance)
	defer deadline.Stop()
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited for %s; %s", what, explain())
		}
	}
}

// poll asks until there is no error, for as long as a server may take to start, and returns the last error when that ends.
func poll(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * glance)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
