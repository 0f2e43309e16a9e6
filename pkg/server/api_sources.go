package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/platform"
)

// Repository is a repository that is watched.
type Repository struct {
	Name string `json:"name" pattern:"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$"`
	URL  string `json:"url"`
	// Forge is the name of a configured forge; empty for a plain remote.
	Forge string `json:"forge,omitempty"`
	// Branches says which environments follow which branch.
	Branches map[string][]string `json:"branches"`
	Paths    []string            `json:"paths,omitempty"`
	// PollSeconds is how often it is looked at; 0 means 60.
	PollSeconds  int             `json:"pollSeconds,omitempty" minimum:"0" maximum:"86400"`
	Origin       gitwatch.Origin `json:"origin,omitempty" readOnly:"true"`
	PolledAt     *time.Time      `json:"polledAt,omitempty" readOnly:"true"`
	Fault        *fault.Fault    `json:"fault,omitempty" readOnly:"true"`
	FailingSince *time.Time      `json:"failingSince,omitempty" readOnly:"true"`
	// InvalidFiles counts the Score files that cannot be deployed in the newest commits of its branches.
	InvalidFiles int `json:"invalidFiles,omitempty" readOnly:"true"`
}

// Environment is an environment of the platform configuration.
type Environment struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	// Namespace is the Kubernetes namespace of what is rendered.
	Namespace       string `json:"namespace,omitempty"`
	ConfirmDeletes  string `json:"confirmDeletes"`
	WhenPlanDiffers string `json:"whenPlanDiffers"`
}

// ResourceType is a type that the platform can fulfil.
type ResourceType struct {
	Type        string   `json:"type"`
	Class       string   `json:"class,omitempty"`
	Provisioner string   `json:"provisioner"`
	Description string   `json:"description,omitempty"`
	Params      []string `json:"params"`
	Outputs     []string `json:"outputs"`
}

// RepositoryPath names a repository.
type RepositoryPath struct {
	Owner string `path:"owner"`
	Name  string `path:"name"`
}

func (s *Server) sourcesAPI(api huma.API) {
	operation(api, "GET /repositories", auth.Read, "Repositories that are watched", s.listRepositories)
	operation(api, "PUT /repositories", auth.Admin, "Add or change a repository", s.putRepository)
	operation(api, "DELETE /repositories/{owner}/{name}", auth.Admin, "Stop watching a repository; what runs stays",
		func(ctx context.Context, in *RepositoryPath) (Empty, error) {
			return done, pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error { return s.Watcher.Drop(ctx, tx, in.Owner+"/"+in.Name) })
		})
	operation(api, "POST /repositories/{owner}/{name}/look", auth.Deploy, "Look at a repository now",
		func(ctx context.Context, in *RepositoryPath) (Empty, error) {
			return done, pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
				if _, err := gitwatch.Get(ctx, tx, in.Owner+"/"+in.Name); err != nil {
					return err
				}
				return s.Watcher.Hint(ctx, tx, in.Owner+"/"+in.Name)
			})
		})
	operation(api, "GET /environments", auth.Read, "Environments of the platform configuration", s.listEnvironments)
	operation(api, "GET /resource-types", auth.Read, "Resource types that the platform can fulfil", s.listTypes)
	operation(api, "GET /platform", auth.Read, "Versions of the platform configuration, the newest first",
		func(ctx context.Context, in *Page) ([]platform.Revision, error) {
			list, err := s.Platform.Revisions(ctx, s.Pool, in.Limit)
			return orEmpty(list), err
		})
}

func (s *Server) listRepositories(ctx context.Context, _ *struct{}) ([]Repository, error) {
	list, err := gitwatch.Repositories(ctx, s.Pool)
	if err != nil {
		return nil, err
	}
	invalid, err := s.invalidFiles(ctx, list)
	if err != nil {
		return nil, err
	}
	out := make([]Repository, len(list))
	for i, r := range list {
		out[i] = Repository{
			Name: r.Name, URL: r.URL, Forge: r.Forge, Branches: r.Branches, Paths: r.Paths, PollSeconds: r.PollSeconds, Origin: r.Origin,
			PolledAt: r.PolledAt, Fault: r.Fault, FailingSince: r.FailingSince, InvalidFiles: invalid[r.Name],
		}
	}
	return out, nil
}

// invalidFiles counts what cannot be deployed in the newest commits of repositories, by their names.
func (s *Server) invalidFiles(ctx context.Context, list []gitwatch.Repository) (map[string]int, error) {
	var names, commits []string
	for _, r := range list {
		refs, err := gitwatch.Refs(ctx, s.Pool, r.Name)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			if r.Branches[ref.Name] != nil && ref.Commit != nil {
				names, commits = append(names, r.Name), append(commits, *ref.Commit)
			}
		}
	}
	return s.Reconciler.Invalid(ctx, s.Pool, names, commits)
}

func (s *Server) putRepository(ctx context.Context, in *struct{ Body Repository }) (Empty, error) {
	p, err := s.Platform.Current(ctx, s.Pool)
	if err != nil {
		return Empty{}, err
	}
	r := gitwatch.Repository{
		Name: in.Body.Name, URL: in.Body.URL, Forge: in.Body.Forge, Branches: in.Body.Branches, Paths: in.Body.Paths,
		PollSeconds: in.Body.PollSeconds, Origin: gitwatch.API,
	}
	if err := s.Watcher.Check(&r); err != nil {
		return Empty{}, err
	}
	if err := s.OnForge(r.Forge, r.URL); err != nil {
		return Empty{}, err
	}
	for _, name := range r.Environments() {
		if _, err := p.Environment(name); err != nil {
			return Empty{}, err
		}
	}
	return done, pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error { return s.Watcher.Put(ctx, tx, r) })
}

func (s *Server) listEnvironments(ctx context.Context, _ *struct{}) ([]Environment, error) {
	p, err := s.Platform.Current(ctx, s.Pool)
	if err != nil {
		return nil, err
	}
	out := []Environment{}
	for _, name := range slices.Sorted(maps.Keys(p.Environments)) {
		e := p.Environments[name]
		out = append(out, Environment{
			Name: name, Target: e.Target.String(), Namespace: e.Namespace, ConfirmDeletes: e.ConfirmDeletes, WhenPlanDiffers: e.WhenPlanDiffers,
		})
	}
	return out, nil
}

func (s *Server) listTypes(ctx context.Context, _ *struct{}) ([]ResourceType, error) {
	p, err := s.Platform.Current(ctx, s.Pool)
	if err != nil {
		return nil, err
	}
	out := []ResourceType{}
	for _, v := range p.Provisioners {
		out = append(out, ResourceType{
			Type: v.Type, Class: v.Class, Provisioner: v.URI, Description: v.Description, Params: orEmpty(v.SupportedParams), Outputs: orEmpty(v.ExpectedOutputs),
		})
	}
	return out, nil
}
