package main

import (
	"context"

	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/reconcile"
)

// reconcileSource gives gitwatch's trees the interface that reconcile asks for.
type reconcileSource struct{ source *gitwatch.Source }

// Tree implements [reconcile.Source].
func (s reconcileSource) Tree(ctx context.Context, r gitwatch.Repository, branch, commit string) (reconcile.Tree, error) {
	return s.source.Tree(ctx, r, branch, commit)
}

// Merge implements [reconcile.Source].
func (s reconcileSource) Merge(ctx context.Context, r gitwatch.Repository, p gitwatch.Pull) (reconcile.Tree, []string, error) {
	return s.source.Merge(ctx, r, p)
}
