package trace_test

import (
	"encoding/json"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/innominatus/reconciler/pkg/trace"
)

func TestATraceGoesOnAfterItWasStored(t *testing.T) {
	t.Parallel()
	tracer := sdk.NewTracerProvider().Tracer("")
	ctx, span := tracer.Start(t.Context(), "webhook")
	stored, err := json.Marshal(trace.From(ctx))
	if err != nil {
		t.Fatal(err)
	}
	var parent trace.Parent
	if err := json.Unmarshal(stored, &parent); err != nil {
		t.Fatal(err)
	}
	_, next := tracer.Start(parent.Continue(t.Context()), "run")
	if got, want := next.SpanContext().TraceID(), span.SpanContext().TraceID(); got != want {
		t.Errorf("the trace is %s, want %s", got, want)
	}
}

func TestNothingIsTracedWithoutAParent(t *testing.T) {
	t.Parallel()
	if p := trace.From(t.Context()); p != "" {
		t.Errorf("the parent is %q", p)
	}
	for _, p := range []trace.Parent{"", "nonsense", "00-00000000000000000000000000000000-0000000000000000-01"} {
		if c := oteltrace.SpanContextFromContext(p.Continue(t.Context())); c.IsValid() {
			t.Errorf("%q gives %v", p, c)
		}
	}
}
