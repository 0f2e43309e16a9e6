// Package trace carries a trace across the queue, so that a webhook, the look that it caused, the evaluation and the run
// are one trace although each is a job of its own, perhaps on another machine.
package trace

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// header is the one key that W3C Trace Context needs for a parent.
const header = "traceparent"

// Parent is a span's context in the form of W3C Trace Context (traceparent), "" if nothing is traced. It goes into the
// arguments of jobs.
type Parent string

// From returns the span that is active in ctx.
func From(ctx context.Context) Parent {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return Parent(carrier[header])
}

// Continue returns a context in which new spans are children of the parent.
func (p Parent) Continue(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{header: string(p)})
}
