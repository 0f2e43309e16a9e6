package server

import (
	"context"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/platform"
)

// CreatedToken is a new token; its value cannot be had again.
type CreatedToken struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// LoginLink is a value that logs a browser in, once.
type LoginLink struct {
	Value string `json:"value"`
}

// Status is what a person or a monitor wants to know of the server.
type Status struct {
	Version string  `json:"version"`
	Checks  []Check `json:"checks"`
	// UnsentReports is how many reports forges were not told yet, OldestReport how long the oldest waits, in seconds.
	UnsentReports int     `json:"unsentReports"`
	OldestReport  float64 `json:"oldestReportSeconds"`
	// Platform is not among the checks: with a refused version the server goes on with the one before.
	Platform PlatformState `json:"platform"`
}

// PlatformState says which version of the platform configuration is planned with.
type PlatformState struct {
	// InForce is the newest valid version; missing if there was none yet.
	InForce *platform.Revision `json:"inForce,omitempty"`
	// Refused is the newest version if it is not valid; its faults say why.
	Refused *platform.Revision `json:"refused,omitempty"`
}

type tokenInput struct {
	Body struct {
		Name   string       `json:"name" minLength:"1" maxLength:"100"`
		Scopes []auth.Scope `json:"scopes" minItems:"1"`
		// Days until it expires; 0 is never.
		Days int `json:"days,omitempty" minimum:"0" maximum:"3650"`
	}
}

func (s *Server) adminAPI(api huma.API) {
	operation(api, "GET /tokens", auth.Admin, "Tokens, without their values", func(ctx context.Context, _ *struct{}) ([]auth.Token, error) {
		list, err := auth.Tokens(ctx, s.Pool)
		return orEmpty(list), err
	})
	operation(api, "POST /tokens", auth.Admin, "Make a token", func(ctx context.Context, in *tokenInput) (CreatedToken, error) {
		value, err := auth.CreateToken(ctx, s.Pool, in.Body.Name, in.Body.Scopes, time.Duration(in.Body.Days)*24*time.Hour)
		return CreatedToken{in.Body.Name, value}, err
	})
	operation(api, "DELETE /tokens/{name}", auth.Admin, "Revoke a token", func(ctx context.Context, in *struct {
		Name string `path:"name"`
	}) (Empty, error) {
		return done, auth.RevokeToken(ctx, s.Pool, in.Name)
	})
	operation(api, "POST /login-links", auth.Read, "Make a value that logs a browser in once, within 10 minutes, at /login?link=VALUE",
		func(ctx context.Context, _ *struct{}) (LoginLink, error) {
			value, err := auth.Link(ctx, s.Pool, principal(ctx).TokenID)
			return LoginLink{value}, err
		})
	operation(api, "GET /status", auth.Read, "Version, dependencies and backlog of the server", func(ctx context.Context, _ *struct{}) (Status, error) {
		count, oldest, err := s.Outbox.Backlog(ctx, s.Pool)
		if err != nil {
			return Status{}, err
		}
		state, err := s.platformState(ctx)
		return Status{Version: s.Version, Checks: s.checks(ctx), UnsentReports: count, OldestReport: oldest.Seconds(), Platform: state}, err
	})
}

// refusedLimit is through how many refused versions one that is in force is looked for.
const refusedLimit = 1000

func (s *Server) platformState(ctx context.Context) (state PlatformState, err error) {
	list, err := s.Platform.Revisions(ctx, s.Pool, 1)
	if err != nil || len(list) == 0 {
		return state, err
	}
	if !list[0].Valid {
		state.Refused = &list[0]
		if list, err = s.Platform.Revisions(ctx, s.Pool, refusedLimit); err != nil {
			return state, err
		}
	}
	if i := slices.IndexFunc(list, func(r platform.Revision) bool { return r.Valid }); i >= 0 {
		state.InForce = &list[i]
	}
	return state, nil
}
