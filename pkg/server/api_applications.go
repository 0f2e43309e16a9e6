package server

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
)

// Application is an application in an environment.
type Application struct {
	Name        string `json:"name"`
	Environment string `json:"environment"`
	Repository  string `json:"repository"`
	Path        string `json:"path"`
	// State is one of: deployed, deploying, asking, failed, invalid, waiting, held, new.
	State string `json:"state"`
	// Generation is the newest desired one, Applied the one in the target.
	Generation int64        `json:"generation"`
	Applied    int64        `json:"applied"`
	Commit     string       `json:"commit"`
	Faults     fault.List   `json:"faults,omitempty"`
	Waiting    string       `json:"waiting,omitempty"`
	WaitingFor *fault.Fault `json:"waitingFor,omitempty"`
	Hold       *Hold        `json:"hold,omitempty"`
	Run        *apply.Run   `json:"run,omitempty"`
}

// Hold is why nothing is deployed by itself.
type Hold struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Since  time.Time `json:"since"`
	// Release is the digest of the one release that is held back; empty holds back all.
	Release string `json:"release,omitempty"`
}

// Release is a release with its objects; secret values are replaced by fingerprints.
type Release struct {
	Generation int64            `json:"generation"`
	Digest     string           `json:"digest"`
	Plan       string           `json:"plan"`
	Commit     string           `json:"commit"`
	Cause      string           `json:"cause"`
	Of         *int64           `json:"of,omitempty"`
	CreatedAt  time.Time        `json:"createdAt"`
	Content    *planner.Release `json:"content,omitempty"`
}

// ApplicationPath names an application. It and the other inputs are exported because huma fills embedded ones only then.
type ApplicationPath struct {
	Environment string `path:"environment"`
	Name        string `path:"name"`
}

// ApplicationFilter chooses applications; empty takes any.
type ApplicationFilter struct {
	Environment string `query:"environment"`
	Repository  string `query:"repository"`
}

// ReleasePath names a release.
type ReleasePath struct {
	ApplicationPath
	Generation int64 `path:"generation"`
}

// HoldRequest says why nothing is to be deployed by itself.
type HoldRequest struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

type holdInput struct {
	ApplicationPath
	Body HoldRequest
}

// RollbackRequest says what to go back to.
type RollbackRequest struct {
	Generation int64  `json:"generation,omitempty" doc:"0 is the last one that succeeded with other content." minimum:"0"`
	Confirm    string `json:"confirm,omitempty" doc:"Id of the rollback's plan, where it deletes data."`
}

type rollbackInput struct {
	ApplicationPath
	Body RollbackRequest
}

func (s *Server) applicationsAPI(api huma.API) {
	operation(api, "GET /applications", auth.Read, "Applications by environment and name", s.listApplications)
	operation(api, "GET /applications/{environment}/{name}", auth.Read, "One application", s.getApplication)
	operation(api, "GET /applications/{environment}/{name}/releases", auth.Read, "Releases, the newest first", s.listReleases)
	operation(api, "GET /applications/{environment}/{name}/releases/{generation}", auth.Read, "One release with its objects", s.getRelease)
	operation(api, "POST /applications/{environment}/{name}/hold", auth.Deploy, "Stop automatic deployment",
		func(ctx context.Context, in *holdInput) (Empty, error) {
			return done, s.Reconciler.Hold(ctx, in.Environment, in.Name, in.Body.Reason, principal(ctx).Name)
		})
	operation(api, "POST /applications/{environment}/{name}/resume", auth.Deploy, "Lift a hold",
		func(ctx context.Context, in *ApplicationPath) (Empty, error) {
			return done, s.Reconciler.Resume(ctx, in.Environment, in.Name)
		})
	operation(api, "POST /applications/{environment}/{name}/rollback", auth.Deploy, "Apply an earlier release again and hold",
		func(ctx context.Context, in *rollbackInput) (apply.Run, error) {
			return s.Reconciler.Rollback(ctx, in.Environment, in.Name, in.Body.Generation, in.Body.Confirm, principal(ctx).Name)
		})
	operation(api, "POST /applications/{environment}/{name}/retry", auth.Deploy, "Try a failed release again",
		func(ctx context.Context, in *ApplicationPath) (apply.Run, error) {
			return s.Reconciler.Retry(ctx, in.Environment, in.Name)
		})
}

func (s *Server) listApplications(ctx context.Context, in *ApplicationFilter) ([]Application, error) {
	list, err := s.Planner.Applications(ctx, s.Pool, planner.Filter{Environment: in.Environment, Repository: in.Repository})
	if err != nil {
		return nil, err
	}
	out := make([]Application, len(list))
	for i, a := range list {
		if out[i], err = s.application(ctx, a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Server) getApplication(ctx context.Context, in *ApplicationPath) (Application, error) {
	a, err := s.Planner.Named(ctx, s.Pool, in.Environment, in.Name)
	if err != nil {
		return Application{}, err
	}
	return s.application(ctx, a)
}

// application adds the newest run to a row.
func (s *Server) application(ctx context.Context, a planner.Application) (Application, error) {
	out := Application{
		Name: a.Name, Environment: a.Environment, Repository: a.Repository, Path: a.Path, Generation: a.Generation, Applied: a.Applied,
		Commit: a.Commit, Faults: a.Faults, Waiting: a.Waiting, WaitingFor: a.WaitingFor,
	}
	if a.Hold != nil {
		out.Hold = &Hold{Reason: a.Hold.Reason, By: a.Hold.By, Since: a.Hold.Since, Release: a.Hold.Digest}
	}
	if a.Generation > 0 {
		run, err := s.Runs.RunOf(ctx, s.Pool, a.ID, a.Generation)
		if err != nil {
			return out, err
		}
		out.Run = &run
	}
	out.State = stateOf(out)
	return out, nil
}

// stateOf says in one word what matters most about an application.
func stateOf(a Application) string {
	switch {
	case len(a.Faults) > 0:
		return "invalid"
	case a.Waiting != "":
		return "waiting"
	case a.Run != nil && a.Run.State == apply.Failed:
		return "failed"
	case a.Hold != nil:
		return "held"
	case a.Run == nil:
		return "new"
	case a.Run.Waits != "":
		return "asking"
	case !a.Run.State.Final():
		return "deploying"
	default:
		return "deployed"
	}
}

func (s *Server) listReleases(ctx context.Context, in *struct {
	ApplicationPath
	Page
}) ([]Release, error) {
	a, err := s.Planner.Named(ctx, s.Pool, in.Environment, in.Name)
	if err != nil {
		return nil, err
	}
	list, err := s.Planner.Records(ctx, s.Pool, a.ID, in.Limit)
	if err != nil {
		return nil, err
	}
	out := make([]Release, len(list))
	for i, r := range list {
		out[i] = release(r)
	}
	return out, nil
}

func (s *Server) getRelease(ctx context.Context, in *ReleasePath) (Release, error) {
	a, err := s.Planner.Named(ctx, s.Pool, in.Environment, in.Name)
	if err != nil {
		return Release{}, err
	}
	r, err := s.Planner.Record(ctx, s.Pool, a.ID, in.Generation)
	return release(r), err
}

func release(r planner.Record) Release {
	return Release{
		Generation: r.Generation, Digest: r.Digest, Plan: r.Plan, Commit: r.Commit, Cause: r.Cause, Of: r.Of, CreatedAt: r.CreatedAt,
		Content: r.Release,
	}
}
