package gitserver

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// Repository is a bare repository of a [Server].
type Repository struct {
	// Dir is where it is on disk.
	Dir    string
	server *Server
	// seconds date commits, so that the same history has the same hashes.
	seconds atomic.Int64
}

// firstSecond is the time of the first commit: an arbitrary moment in 2023.
const firstSecond = 1_700_000_000

// Create makes an empty repository with the default branch main. Its URL is the server's, a slash, and the name.
func (s *Server) Create(ctx context.Context, name string) (*Repository, error) {
	r := &Repository{Dir: filepath.Join(s.root, filepath.FromSlash(name)), server: s}
	r.seconds.Store(firstSecond)
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=main", r.Dir},
		{"-C", r.Dir, "config", "http.receivepack", "true"},
		{"-C", r.Dir, "config", "uploadpack.allowFilter", fmt.Sprint(!s.options.NoFilter)},
		{"-C", r.Dir, "config", "gc.auto", "0"},
	} {
		if _, err := s.run(ctx, nil, args...); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Git runs the git command in the repository and returns what it prints, without the final newline.
func (r *Repository) Git(ctx context.Context, stdin []byte, args ...string) (string, error) {
	return r.server.run(ctx, stdin, append([]string{"-C", r.Dir}, args...)...)
}

func (s *Server) run(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.git, args...)
	cmd.Env = append(s.environment(), "GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.com",
		"GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.com")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// File is a change of one file in a commit.
type File struct {
	// Path is where it is. Mode is Git's, as text; "" is 100644. 120000 is a symlink to Content, 160000 a submodule at the
	// commit that Content names.
	Path, Mode, Content string
	// Delete removes it, or the directory.
	Delete bool
}

// Files makes regular files of a map from paths to contents.
func Files(contents map[string]string) []File {
	var out []File
	for path, text := range contents {
		out = append(out, File{Path: path, Content: text})
	}
	return out
}

// Commit adds a commit with changed files to a branch, which is made if it does not exist, and returns its hash.
func (r *Repository) Commit(ctx context.Context, branch, message string, files ...File) (string, error) {
	ref := "refs/heads/" + branch
	tip, err := r.Git(ctx, nil, "for-each-ref", "--format=%(objectname)", ref)
	if err != nil {
		return "", err
	}
	var parents []string
	if tip != "" {
		parents = append(parents, tip)
	}
	return r.CommitOn(ctx, branch, parents, message, files...)
}

// CommitOn makes a commit with given parents, whose first one's files it changes, and sets the branch to it.
func (r *Repository) CommitOn(ctx context.Context, branch string, parents []string, message string, files ...File) (string, error) {
	var in bytes.Buffer
	ref := "refs/heads/" + branch
	fmt.Fprintf(&in, "reset %s\n\ncommit %s\ncommitter Dev <dev@example.com> %d +0000\ndata %d\n%s\n", ref, ref, r.seconds.Add(1), len(message), message)
	for i, p := range parents {
		word := "from"
		if i > 0 {
			word = "merge"
		}
		fmt.Fprintf(&in, "%s %s\n", word, p)
	}
	for _, f := range files {
		mode := f.Mode
		if mode == "" {
			mode = "100644"
		}
		switch {
		case f.Delete:
			fmt.Fprintf(&in, "D %s\n", f.Path)
		case mode == "160000":
			fmt.Fprintf(&in, "M %s %s %s\n", mode, f.Content, f.Path)
		default:
			fmt.Fprintf(&in, "M %s inline %s\ndata %d\n%s\n", mode, f.Path, len(f.Content), f.Content)
		}
	}
	if _, err := r.Git(ctx, in.Bytes(), "fast-import", "--quiet", "--force", "--date-format=raw"); err != nil {
		return "", err
	}
	return r.Git(ctx, nil, "rev-parse", ref)
}
