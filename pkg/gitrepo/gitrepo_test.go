package gitrepo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

// servers are the kinds of servers that everything must work with.
var servers = map[string]gitserver.Options{
	"modern":           {},
	"without filter":   {NoFilter: true},
	"version 0":        {Version0: true},
	"old and unfilter": {Version0: true, NoFilter: true},
}

// onServers runs a test against each kind of server.
func onServers(t *testing.T, test func(t *testing.T, k *kit)) {
	for name, o := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newKit(t, o))
		})
	}
}

// kit is a server with one repository, a client and a mirror.
type kit struct {
	*testenv.GitRepo
	t      *testing.T
	client *Client
	remote Remote
	mirror *Mirror
	dir    string
}

func newKit(t *testing.T, o gitserver.Options) *kit {
	t.Helper()
	return newKitWith(t, o, ClientConfig{})
}

func newKitWith(t *testing.T, o gitserver.Options, c ClientConfig) *kit {
	t.Helper()
	server := testenv.Git(t, o)
	k := &kit{GitRepo: server.CreateRepo(t, "shop.git"), t: t, client: NewClient(c), dir: filepath.Join(t.TempDir(), "mirror")}
	t.Cleanup(k.client.Close)
	k.remote = Remote{URL: k.URL, Auth: Auth{o.Username, o.Password}}
	k.mirror = k.open()
	return k
}

func (k *kit) open() *Mirror {
	k.t.Helper()
	m, _, err := k.client.OpenMirror(k.dir, k.remote)
	if err != nil {
		k.t.Fatal(err)
	}
	return m
}

// files fetches a commit and returns what it holds.
func (k *kit) files(commit string) map[string]string {
	k.t.Helper()
	if err := k.mirror.Fetch(k.t.Context(), Want{Hash(commit), "refs/heads/main"}); err != nil {
		k.t.Fatal(err)
	}
	tree, err := k.mirror.Tree(k.t.Context(), Hash(commit))
	if err != nil {
		k.t.Fatal(err)
	}
	return contents(k.t, tree)
}

func contents(t *testing.T, tree *Tree) map[string]string {
	t.Helper()
	paths, err := tree.Paths(func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range paths {
		text, found, err := tree.Read(p)
		if err != nil || !found {
			t.Fatalf("read %s: found %t, %v", p, found, err)
		}
		out[p] = string(text)
	}
	return out
}

func (k *kit) refs(prefixes ...string) Refs {
	k.t.Helper()
	refs, err := k.client.ListRefs(k.t.Context(), k.remote, prefixes...)
	if err != nil {
		k.t.Fatal(err)
	}
	return refs
}

func wantCode(t *testing.T, err error, code fault.Code) *fault.Fault {
	t.Helper()
	f, ok := fault.As(err)
	if !ok || f.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	return f
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

func TestListsRefsAndReadsFiles(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		files := map[string]string{"score.yaml": "one\n", "apps/api/score.yaml": "two\n", "readme": ""}
		c := k.Commit("main", files)
		other := k.Commit("work", map[string]string{"x": "y"})
		equal(t, Refs{Commits: map[string]Hash{"refs/heads/main": Hash(c)}, Head: "refs/heads/main"}, k.refs("refs/heads/main"))
		equal(t, Refs{Commits: map[string]Hash{"refs/heads/main": Hash(c), "refs/heads/work": Hash(other)}, Head: "refs/heads/main"}, k.refs())
		equal(t, files, k.files(c))
		tree, err := k.mirror.Tree(t.Context(), Hash(c))
		if err != nil {
			t.Fatal(err)
		}
		paths, err := tree.Paths(func(p string) bool { return strings.HasSuffix(p, "score.yaml") })
		if err != nil {
			t.Fatal(err)
		}
		equal(t, []string{"apps/api/score.yaml", "score.yaml"}, paths)
		for _, absent := range []string{"nothing", "apps/nothing", "readme/below", "apps/api/score.yaml/x"} {
			if _, found, err := tree.Read(absent); found || err != nil {
				t.Errorf("%s: found %t, %v", absent, found, err)
			}
		}
	})
}

func TestEmptyRepositoryHasNoRefs(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		equal(t, map[string]Hash{}, k.refs().Commits)
		equal(t, map[string]Hash{}, k.refs("refs/heads/main").Commits)
	})
}

func TestFollowsHistoryWhereverItGoes(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		a := k.Commit("main", map[string]string{"f": "a"})
		old := k.CommitOn("old", []string{a}, gitserver.File{Path: "side", Content: "old branch"})
		equal(t, map[string]string{"f": "a"}, k.files(a))
		b := k.Commit("main", map[string]string{"f": "b", "g": "b"})
		equal(t, map[string]string{"f": "b", "g": "b"}, k.files(b))
		merged := k.CommitOn("main", []string{b, old}, gitserver.File{Path: "side", Content: "old branch"})
		equal(t, map[string]string{"f": "b", "g": "b", "side": "old branch"}, k.files(merged))
		k.Run("repack", "-adb", "--quiet")
		reverted := k.CommitFiles("main", gitserver.File{Path: "f", Content: "a"}, gitserver.File{Path: "g", Delete: true}, gitserver.File{Path: "side", Delete: true})
		equal(t, map[string]string{"f": "a"}, k.files(reverted))
		k.Run("update-ref", "refs/heads/main", a)
		equal(t, Hash(a), k.refs("refs/heads/main").Commits["refs/heads/main"])
		equal(t, map[string]string{"f": "a"}, k.files(a))
		rewritten := k.CommitOn("main", nil, gitserver.File{Path: "new", Content: "root"})
		equal(t, map[string]string{"new": "root"}, k.files(rewritten))
		k.Run("update-ref", "-d", "refs/heads/main")
		equal(t, map[string]Hash{}, k.refs("refs/heads/main").Commits)
		again := k.CommitOn("main", []string{b}, gitserver.File{Path: "h", Content: "again"})
		equal(t, map[string]string{"f": "b", "g": "b", "h": "again"}, k.files(again))
	})
}

func TestCommitThatIsNotThereYetCanComeLater(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		k.Commit("main", map[string]string{"f": "a"})
		err := k.mirror.Fetch(t.Context(), Want{Hash(strings.Repeat("12", 20)), "refs/heads/main"})
		if f := wantCode(t, err, fault.CommitMissing); f.Class() != fault.Retryable || !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
