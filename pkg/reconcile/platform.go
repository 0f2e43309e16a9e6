package reconcile

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
)

// CheckPlatform refuses a platform configuration that needs a secret which this server does not have, and one without an
// environment in which applications run: they would be there with nobody to change or remove them.
func (r *Reconciler) CheckPlatform(ctx context.Context, tx pgx.Tx, p *platform.Platform) (faults fault.List, err error) {
	list, err := r.Planner.Applications(ctx, tx, planner.Filter{})
	if err != nil {
		return nil, err
	}
	watched, err := gitwatch.Repositories(ctx, tx)
	if err != nil {
		return nil, err
	}
	missing := ""
	for _, a := range list { // sorted by environment
		if _, there := p.Environments[a.Environment]; there || a.Environment == missing {
			continue
		}
		if !slices.ContainsFunc(watched, func(r gitwatch.Repository) bool { return r.Name == a.Repository }) {
			continue // nobody watches it any more, and nobody could remove it
		}
		missing = a.Environment
		faults = append(faults, fault.New(fault.EnvironmentInUse, "environment %s is not in the configuration any more, but %s and maybe others run there", missing, a.Name))
	}
	for _, name := range p.Paths.Secrets() {
		if _, there := r.Runner.Secrets[name]; !there {
			faults = append(faults, fault.New(fault.SecretMissing, "a golden path refers to secrets.%s, and the server's configuration has no such secret", name))
		}
	}
	return faults, nil
}
