package gitrepo

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

// gitCommand runs git as a peer would, without anybody's configuration.
func gitCommand(b *testing.B, dir string, args ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("git %v: %v: %s", args, err, out)
	}
}

// benchRepo makes a repository with many refs and files.
func benchRepo(b *testing.B, refs, files int) *testenv.GitRepo {
	b.Helper()
	server := testenv.Git(b, gitserver.Options{})
	r := server.CreateRepo(b, "r.git")
	var list []gitserver.File
	for i := range files {
		list = append(list, gitserver.File{Path: fmt.Sprintf("d%d/e%d/score.yaml", i%40, i), Content: fmt.Sprint("name: ", i, "\n")})
	}
	c := r.CommitFiles("main", append(list, gitserver.File{Path: "score.yaml", Content: "0"})...)
	var in bytes.Buffer
	for i := range refs {
		fmt.Fprintf(&in, "create refs/pull/%d/head %s\n", i, c)
	}
	if _, err := r.Git(b.Context(), in.Bytes(), "update-ref", "--stdin"); err != nil {
		b.Fatal(err)
	}
	r.Run("pack-refs", "--all")
	return r
}

func BenchmarkListRefsUnchanged(b *testing.B) {
	for _, refs := range []int{0, 20_000} {
		r := benchRepo(b, refs, 1)
		b.Run(fmt.Sprint("ours/refs=", refs), func(b *testing.B) {
			client := NewClient(ClientConfig{})
			defer client.Close()
			for b.Loop() {
				if _, err := client.ListRefs(b.Context(), Remote{URL: r.URL}, "refs/heads/main"); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("git ls-remote/refs=", refs), func(b *testing.B) {
			for b.Loop() {
				gitCommand(b, "", "ls-remote", r.URL, "refs/heads/main")
			}
		})
	}
}

func BenchmarkFetchOneCommit(b *testing.B) {
	r := benchRepo(b, 0, 20_000)
	n := 0
	next := func() Hash {
		n++
		return Hash(r.Commit("main", map[string]string{"score.yaml": fmt.Sprint(n)}))
	}
	b.Run("ours", func(b *testing.B) {
		client := NewClient(ClientConfig{})
		defer client.Close()
		m, _, err := client.OpenMirror(filepath.Join(b.TempDir(), "m"), Remote{URL: r.URL})
		if err != nil {
			b.Fatal(err)
		}
		fetch := func() {
			b.StopTimer()
			c := next()
			b.StartTimer()
			if err := m.Fetch(b.Context(), Want{Commit: c}); err != nil {
				b.Fatal(err)
			}
			tree, err := m.Tree(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			if text, _, err := tree.Read("score.yaml"); err != nil || string(text) != fmt.Sprint(n) {
				b.Fatal(string(text), err)
			}
		}
		fetch()
		for b.Loop() {
			fetch()
		}
	})
	b.Run("git fetch", func(b *testing.B) {
		dir := filepath.Join(b.TempDir(), "m")
		gitCommand(b, "", "clone", "--quiet", "--bare", r.URL, dir)
		for b.Loop() {
			b.StopTimer()
			next()
			b.StartTimer()
			gitCommand(b, dir, "fetch", "--quiet", "origin", "refs/heads/main")
		}
	})
}

// BenchmarkFindFiles walks 20,000 files as evaluating a commit does.
func BenchmarkFindFiles(b *testing.B) {
	r := benchRepo(b, 0, 20_000)
	client := NewClient(ClientConfig{})
	defer client.Close()
	m, _, err := client.OpenMirror(filepath.Join(b.TempDir(), "m"), Remote{URL: r.URL})
	if err != nil {
		b.Fatal(err)
	}
	c := Hash(r.Run("rev-parse", "main"))
	if err := m.Fetch(b.Context(), Want{Commit: c}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		tree, err := m.Tree(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		paths, err := tree.Paths(func(p string) bool { return filepath.Base(p) == "score.yaml" })
		if err != nil || len(paths) != 20_001 {
			b.Fatal(len(paths), err)
		}
	}
}
