package server

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/queue"
)

type pauseInput struct {
	Body struct {
		// Kind of the jobs; without it all are meant.
		Kind   string `json:"kind,omitempty" maxLength:"500"`
		Reason string `json:"reason" minLength:"1" maxLength:"1000"`
	}
}

type unpauseInput struct {
	Body struct {
		// Kind of the jobs; without it the pause of all is meant.
		Kind string `json:"kind,omitempty" maxLength:"500"`
	}
}

func (s *Server) queueAPI(api huma.API) {
	operation(api, "GET /queue", auth.Read, "How each kind of jobs does: how many wait and run, since when, and what is paused",
		func(ctx context.Context, _ *struct{}) ([]queue.KindStatus, error) { return s.Queue.Status(ctx) })
	operation(api, "POST /queue/pause", auth.Admin, "Start no jobs, or none of a kind, until somebody resumes; those that run go on",
		func(ctx context.Context, in *pauseInput) (Empty, error) {
			return done, s.Queue.Pause(ctx, in.Body.Kind, principal(ctx).Name, in.Body.Reason)
		})
	operation(api, "POST /queue/resume", auth.Admin, "End a pause of all jobs, or of a kind",
		func(ctx context.Context, in *unpauseInput) (Empty, error) {
			return done, s.Queue.Resume(ctx, in.Body.Kind, principal(ctx).Name)
		})
}
