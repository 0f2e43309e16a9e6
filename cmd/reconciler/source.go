package main

import (
	"context"

	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/reconcile"
)

// reconcileSource gives gitwatch's trees the interface that reconcile asks for. It asks no remote that is not on the forge
// that its repository names.
type reconcileSource struct {
	source *gitwatch.Source
	cfg    *config
}

// ListRefs is what a watcher asks for.
func (s reconcileSource) ListRefs(ctx context.Context, r gitwatch.Repository, prefixes []string) (map[string]string, error) {
	if err := s.cfg.onForge(r.Forge, r.URL); err != nil {
		return nil, err
	}
	return s.source.ListRefs(ctx, r, prefixes)
}

// Tree implements [reconcile.Source].
func (s reconcileSource) Tree(ctx context.Context, r gitwatch.Repository, branch, commit string) (reconcile.Tree, error) {
	if err := s.cfg.onForge(r.Forge, r.URL); err != nil {
		return nil, err
	}
	return s.source.Tree(ctx, r, branch, commit)
}

// Merge implements [reconcile.Source].
func (s reconcileSource) Merge(ctx context.Context, r gitwatch.Repository, p gitwatch.Pull) (reconcile.Tree, []string, error) {
	if err := s.cfg.onForge(r.Forge, r.URL); err != nil {
		return nil, nil, err
	}
	return s.source.Merge(ctx, r, p)
}
