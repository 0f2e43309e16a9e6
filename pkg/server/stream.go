package server

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/sse"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/auth"
)

const (
	// streamPeriod is how often a run that is followed is looked at.
	streamPeriod = 300 * time.Millisecond
	// streamLimit ends a stream: who follows for longer asks again, with the last line's id.
	streamLimit = 10 * time.Minute
)

// stream sends a run's log and its changes of state as server-sent events, until it has ended.
func (s *Server) stream(api huma.API) {
	sse.Register(api, huma.Operation{
		OperationID: "get-runs-id-events", Method: http.MethodGet, Path: "/api/v1/runs/{id}/events",
		Summary: "Follow a run: its log lines and states, until it ends", Tags: []string{"runs"},
		Description: "Needs the scope " + string(auth.Read) + ".", Middlewares: huma.Middlewares{only(auth.Read), unhurried},
	}, map[string]any{"line": apply.LogLine{}, "run": apply.Run{}, "problem": Problem{}},
		func(ctx context.Context, in *logInput, send sse.Sender) {
			ctx, cancel := context.WithTimeout(ctx, streamLimit)
			defer cancel()
			f := follower{Server: s, after: in.After, send: send}
			for !f.turn(ctx, in.ID) && ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-time.After(streamPeriod):
				}
			}
		})
}

// unhurried takes the server's limit for reading a request off: nothing more is read of one that is followed.
func unhurried(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // a writer that has none needs none
	next(ctx)
}

// follower is one who follows a run.
type follower struct {
	*Server
	after int64
	state apply.State
	waits string
	send  sse.Sender
}

// turn sends what is new; ended says that nothing more will come.
func (f *follower) turn(ctx context.Context, id int64) (ended bool) {
	// The state is read before the lines: the last ones are not missed.
	run, err := f.Runs.Run(ctx, f.Pool, id)
	if err != nil {
		return f.problem(ctx, err)
	}
	for {
		lines, err := f.Runs.Logs(ctx, f.Pool, id, f.after)
		if err != nil {
			return f.problem(ctx, err)
		}
		for _, l := range lines {
			if err := f.send(sse.Message{ID: int(l.ID), Data: l}); err != nil {
				return true
			}
			f.after = l.ID
		}
		if len(lines) == 0 {
			break
		}
	}
	if run.State != f.state || run.Waits != f.waits {
		f.state, f.waits = run.State, run.Waits
		if err := f.send.Data(run); err != nil {
			return true
		}
	}
	return run.State.Final()
}

// problem sends why nothing more comes.
func (f *follower) problem(ctx context.Context, err error) bool {
	_ = f.send.Data(*problem(ctx, err)) // who does not listen any more need not know
	return true
}
