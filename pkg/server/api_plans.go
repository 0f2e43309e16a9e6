package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/reconcile"
	"github.com/innominatus/reconciler/pkg/status"
)

// Plan is a plan with what is known about it.
type Plan struct {
	ID          string        `json:"id"`
	Repository  string        `json:"repository"`
	Environment string        `json:"environment"`
	Application string        `json:"application"`
	Commit      string        `json:"commit"`
	Pull        *int64        `json:"pull,omitempty"`
	ConfirmedBy *string       `json:"confirmedBy,omitempty"`
	ConfirmedAt *time.Time    `json:"confirmedAt,omitempty"`
	CreatedAt   time.Time     `json:"createdAt"`
	Plan        *planner.Plan `json:"plan,omitempty"`
}

type planPath struct {
	ID string `path:"id"`
}

type planFilter struct {
	ApplicationFilter
	Page
	Name string `query:"application"`
}

// PlanRequest has files that are not in Git yet.
type PlanRequest struct {
	Repository  string `json:"repository" doc:"The watched repository that the files belong to; an unknown one counts as new."`
	Environment string `json:"environment"`
	// Files are contents by path from the root of the repository.
	Files files `json:"files"`
	Whole bool  `json:"whole,omitempty" doc:"The files are all of the repository: what is missing would be removed."`
}

type previewInput struct {
	Body PlanRequest
}

func (s *Server) plansAPI(api huma.API) {
	operation(api, "GET /plans", auth.Read, "Plans, the newest first", s.listPlans)
	operation(api, "GET /plans/{id}", auth.Read, "One plan with its changes", s.getPlan)
	operation(api, "POST /plans/{id}/confirm", auth.Deploy, "Confirm a plan that waits",
		func(ctx context.Context, in *planPath) (Empty, error) {
			return done, s.Reconciler.Confirm(ctx, in.ID, principal(ctx).Name)
		})
	operation(api, "POST /plan", auth.Read, "Plan files that are not in Git yet; nothing is stored",
		func(ctx context.Context, in *previewInput) ([]status.Outcome, error) {
			return s.Reconciler.Preview(ctx, in.Body.Repository, in.Body.Environment, in.Body.Files, in.Body.Whole)
		}, func(op *huma.Operation) { op.MaxBodyBytes, op.BodyReadTimeout = planBodyLimit, planReadTimeout })
	operation(api, "GET /revisions/{owner}/{name}", auth.Read, "What became of the newest commits of a repository, the newest first", s.listRevisions)
	operation(api, "GET /revisions/{owner}/{name}/{commit}", auth.Read, "What became of a commit", s.getRevision)
}

func (s *Server) listPlans(ctx context.Context, in *planFilter) ([]Plan, error) {
	list, err := s.Planner.Plans(ctx, s.Pool, planner.Filter{Environment: in.Environment, Repository: in.Repository, Name: in.Name}, in.Limit)
	if err != nil {
		return nil, err
	}
	out := make([]Plan, len(list))
	for i, p := range list {
		out[i] = plan(p)
	}
	return out, nil
}

func (s *Server) getPlan(ctx context.Context, in *planPath) (Plan, error) {
	p, err := s.Planner.Plan(ctx, s.Pool, in.ID)
	return plan(p), err
}

func plan(p planner.PlanRecord) Plan {
	return Plan{
		ID: p.ID, Repository: p.Repository, Environment: p.Environment, Application: p.Application, Commit: p.Commit, Pull: p.Pull,
		ConfirmedBy: p.ConfirmedBy, ConfirmedAt: p.ConfirmedAt, CreatedAt: p.CreatedAt, Plan: p.Plan,
	}
}

type revisionPath struct {
	Owner  string `path:"owner"`
	Name   string `path:"name"`
	Commit string `path:"commit"`
}

func (s *Server) listRevisions(ctx context.Context, in *struct {
	RepositoryPath
	Page
}) ([]reconcile.Summary, error) {
	name := in.Owner + "/" + in.Name
	if _, err := gitwatch.Get(ctx, s.Pool, name); err != nil {
		return nil, err
	}
	list, err := s.Reconciler.Summaries(ctx, s.Pool, name, in.Limit)
	return orEmpty(list), err
}

func (s *Server) getRevision(ctx context.Context, in *revisionPath) ([]reconcile.Revision, error) {
	return s.Reconciler.Revisions(ctx, s.Pool, in.Owner+"/"+in.Name, in.Commit)
}

// files is a tree in memory.
type files map[string]string

// Paths implements [reconcile.Tree].
func (f files) Paths(match func(string) bool) ([]string, error) {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(f)) {
		if match(path) {
			out = append(out, path)
		}
	}
	return out, nil
}

// Read implements [reconcile.Tree].
func (f files) Read(path string) ([]byte, bool, error) {
	content, found := f[path]
	return []byte(content), found, nil
}
