package fake

import (
	"context"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// The failures below are for [Forge.Before].

// Refused refuses every call, as a forge does whose token has expired.
func Refused(_ context.Context, c Call) error {
	return fault.New(fault.ForgeRefused, "%s: HTTP 401", c.Method)
}

// Down fails every call, as a forge does that cannot be reached.
func Down(_ context.Context, c Call) error {
	return fault.New(fault.ForgeUnavailable, "%s: connection refused", c.Method)
}

// Rejected rejects every call as wrong.
func Rejected(_ context.Context, c Call) error {
	return fault.New(fault.ForgeRejected, "%s: HTTP 422", c.Method)
}

// Limited fails every call and asks to wait, ten minutes at most, as the real ones do.
func Limited(wait time.Duration) func(context.Context, Call) error {
	return func(_ context.Context, c Call) error {
		return fault.New(fault.ForgeUnavailable, "%s: HTTP 429", c.Method).RetryAfter(min(wait, longestWait))
	}
}

// Hanging waits until the call's context ends.
func Hanging(ctx context.Context, _ Call) error {
	<-ctx.Done()
	return nil // do sees the end of the context
}
