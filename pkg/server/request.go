package server

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/pkg/fault"
)

// requestHeader names the header with the id of a request.
const requestHeader = "X-Request-Id"

type requestKey struct{}

// identify gives each request an id, which the answer's header and all lines of the log about the request have.
func (s *Server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()
		w.Header().Set(requestHeader, id)
		log := s.Log.With().Str("request", id).Str("method", r.Method).Str("path", r.URL.Path).Logger()
		next.ServeHTTP(w, r.WithContext(log.WithContext(context.WithValue(r.Context(), requestKey{}, id))))
	})
}

// hidden is what people are told in place of an error that no code describes: its own words may be the database's.
func hidden(ctx context.Context) *fault.Fault {
	id, _ := ctx.Value(requestKey{}).(string)
	return fault.New(fault.Internal, "the server's log says what went wrong, at request %s", id).
		Do("Try again. If it stays, look for the request in the server's log and report it.")
}

// failure logs an error that is told to nobody in its own words, and returns what the API answers.
func failure(ctx context.Context, err error) *Problem {
	p := problem(ctx, err)
	if p.Code == fault.Internal {
		event := zerolog.Ctx(ctx).Error()
		if ctx.Err() != nil {
			event = zerolog.Ctx(ctx).Debug() // the client is gone, which is no fault of ours
		}
		event.Err(err).Msg("request failed")
	}
	return p
}
