package testenv

import (
	"net/http/httptest"
	"testing"

	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

// GitServer is a Git server on loopback that ends with the test.
type GitServer struct {
	*gitserver.Server
	// URL is the server's address without a slash at the end.
	URL string
}

// Git starts a Git server with an empty folder.
func Git(t testing.TB, o gitserver.Options) *GitServer {
	t.Helper()
	handler, err := gitserver.New(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &GitServer{handler, server.URL}
}

// GitRepo is a repository of a [GitServer].
type GitRepo struct {
	*gitserver.Repository
	// URL is the address for cloning.
	URL string
	t   testing.TB
}

// CreateRepo makes an empty repository.
func (s *GitServer) CreateRepo(t testing.TB, name string) *GitRepo {
	t.Helper()
	r, err := s.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return &GitRepo{r, s.URL + "/" + name, t}
}

// Commit adds a commit with changed files to a branch and returns its hash.
func (r *GitRepo) Commit(branch string, files map[string]string) string {
	r.t.Helper()
	return r.CommitFiles(branch, gitserver.Files(files)...)
}

// CommitFiles is Commit for more than regular files.
func (r *GitRepo) CommitFiles(branch string, files ...gitserver.File) string {
	r.t.Helper()
	h, err := r.Repository.Commit(r.t.Context(), branch, "change "+branch, files...)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// CommitOn makes a commit with given parents and sets the branch to it.
func (r *GitRepo) CommitOn(branch string, parents []string, files ...gitserver.File) string {
	r.t.Helper()
	h, err := r.Repository.CommitOn(r.t.Context(), branch, parents, "change "+branch, files...)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// Run runs the git command in the repository and returns what it prints.
func (r *GitRepo) Run(args ...string) string {
	r.t.Helper()
	out, err := r.Git(r.t.Context(), nil, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}
