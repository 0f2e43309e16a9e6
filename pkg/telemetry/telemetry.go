// Package telemetry sets up logs and traces for the process, and the debug port.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/fluxcd/pkg/runtime/pprof"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// durations gives durations in logs their unit ("118.7ms"); zerolog has one place for all loggers of a process, and writes
// milliseconds without a unit by itself.
var durations = sync.OnceFunc(func() { zerolog.DurationFieldFormat = zerolog.DurationFormatString })

// Logger returns a logger that writes lines of JSON, or of text for people, to w. Each line is one write.
func Logger(w io.Writer, format, level string) (zerolog.Logger, error) {
	parsed, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("log level %q: %w", level, err)
	}
	durations()
	if format == "console" || format == "" && isTerminal() {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !isTerminal()}
	}
	return zerolog.New(w).Level(parsed).With().Timestamp().Logger(), nil
}

// isTerminal says whether standard error is a terminal.
func isTerminal() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Traces sends spans to an OTLP receiver over HTTP; "" sends none. The function returned sends what is left.
func Traces(ctx context.Context, endpoint, version, instance string) (shutdown func(context.Context) error, err error) {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	if endpoint == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, fmt.Errorf("traces to %s: %w", endpoint, err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", "reconciler"), attribute.String("service.version", version),
		attribute.String("service.instance.id", instance))))
	otel.SetTracerProvider(provider)
	return provider.Shutdown, nil
}

// Debug returns the handler of the debug port: profiles below /debug/pprof/.
func Debug() http.Handler {
	mux := http.NewServeMux()
	for path, handler := range pprof.GetHandlers() {
		mux.Handle(path, handler)
	}
	return mux
}
