package gitwatch

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/pkg/gitrepo"
)

// Source fetches commits of repositories into mirrors below a folder. The mirrors are a cache.
type Source struct {
	Client *gitrepo.Client
	Dir    string
	// Remote returns where a repository is and with which credentials.
	Remote func(r Repository) gitrepo.Remote
	Log    zerolog.Logger
}

// ListRefs asks a repository's remote for its refs below prefixes.
func (s *Source) ListRefs(ctx context.Context, r Repository, prefixes []string) (map[string]string, error) {
	refs, err := s.Client.ListRefs(ctx, s.Remote(r), prefixes...)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(refs.Commits))
	for name, commit := range refs.Commits {
		out[name] = string(commit)
	}
	return out, nil
}

// mirror opens the mirror of a repository.
func (s *Source) mirror(r Repository) (*gitrepo.Mirror, error) {
	m, remade, err := s.Client.OpenMirror(filepath.Join(s.Dir, url.PathEscape(r.Name)), s.Remote(r))
	if remade {
		s.Log.Warn().Str("repository", r.Name).Msg("mirror was not usable and is made anew")
	}
	return m, err
}

// Tree returns what a commit holds that a branch was at.
func (s *Source) Tree(ctx context.Context, r Repository, branch, commit string) (*gitrepo.Tree, error) {
	m, err := s.mirror(r)
	if err != nil {
		return nil, err
	}
	if err := m.Fetch(ctx, gitrepo.Want{Commit: gitrepo.Hash(commit), Ref: "refs/heads/" + branch}); err != nil {
		return nil, err
	}
	return m.Tree(ctx, gitrepo.Hash(commit))
}

// Merge returns what merging a pull request into its base gives, and the paths that conflict.
func (s *Source) Merge(ctx context.Context, r Repository, p Pull) (*gitrepo.Tree, []string, error) {
	m, err := s.mirror(r)
	if err != nil {
		return nil, nil, err
	}
	err = m.Fetch(ctx, gitrepo.Want{Commit: gitrepo.Hash(p.BaseCommit), Ref: "refs/heads/" + p.BaseRef},
		gitrepo.Want{Commit: gitrepo.Hash(p.HeadCommit), Ref: fmt.Sprintf("refs/pull/%d/head", p.Number)})
	if err != nil {
		return nil, nil, err
	}
	return m.Merge(ctx, gitrepo.Hash(p.BaseCommit), gitrepo.Hash(p.HeadCommit))
}
