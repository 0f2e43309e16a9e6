package gitops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
)

func TestMain(m *testing.M) { testenv.Main(m) }

type world struct {
	testing.TB
	repo   *testenv.GitRepo
	target *Target
	down   atomic.Bool
	// before is called before each push reaches the repository.
	before atomic.Pointer[func()]
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t}
	server := testenv.Git(t, gitserver.Options{Before: func(rw http.ResponseWriter, r *http.Request) bool {
		if w.down.Load() {
			http.Error(rw, "down", http.StatusBadGateway)
			return true
		}
		if f := w.before.Load(); f != nil && strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
			(*f)()
		}
		return false
	}})
	w.repo = server.CreateRepo(t, "deploy")
	w.target = w.another()
	return w
}

// another is the target of another replica.
func (w *world) another() *Target {
	client := gitrepo.NewClient(gitrepo.ClientConfig{})
	w.Cleanup(client.Close)
	return &Target{Client: client, Dir: w.TempDir(), Data: w.TempDir(), Remote: func(t *platform.GitOpsTarget) gitrepo.Remote {
		return gitrepo.Remote{URL: t.Repository}
	}}
}

func (w *world) delivery(name string, generation int64, files ...apply.File) apply.Delivery {
	e := &platform.Environment{Name: "production"}
	e.Namespace = "shop"
	e.Target.GitOps = &platform.GitOpsTarget{
		Repository: w.repo.URL, Branch: "main", Path: "environments/production", Secrets: "secrets",
		ArgoCD: &platform.ArgoCD{Namespace: "argocd", Project: "default", Server: "https://k", Repository: w.repo.URL},
	}
	return apply.Delivery{
		Environment: e, Write: files, Alive: func(context.Context) error { return nil }, Log: func(string, ...any) {},
		Former: func(context.Context) ([]string, error) { return nil, nil },
		Run: apply.Run{Name: name, Environment: "production", Repository: "shop/app", Generation: generation, Kind: apply.Deploy, Commit: "abc", Plan: "p1",
			Token: generation, CreatedAt: time.Unix(1_700_000_000, 0)},
	}
}

func file(path, content string) apply.File { return apply.File{Path: path, Content: []byte(content)} }

func secret(path, content string) apply.File {
	return apply.File{Path: path, Content: []byte(content), Secret: true}
}

func (w *world) deliver(d apply.Delivery) apply.Delivered {
	w.Helper()
	done, err := w.target.Deliver(w.Context(), d)
	if err != nil {
		w.Fatal(err)
	}
	return done
}

func (w *world) files() []string {
	w.Helper()
	return strings.Fields(w.repo.Run("ls-tree", "-r", "--name-only", "main"))
}

func (w *world) count() string { return w.repo.Run("rev-list", "--count", "main") }

func (w *world) code(err error, code fault.Code) {
	w.Helper()
	if f, ok := fault.As(err); !ok || f.Code != code {
		w.Errorf("got %v, want %s", err, code)
	}
}

func TestOneCommitPerRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.delivery("shop", 1, file("shop/a.yaml", "a"), file("shop/b.yaml", "b"))
	if done := w.deliver(d); done.Writes != 3 {
		t.Errorf("an empty repository: %+v", done)
	}
	want := "Deploy shop in production, generation 1\n\nApplication: shop\nEnvironment: production\nGeneration: 1\nSource: shop/app@abc\nPlan: p1"
	if diff := cmp.Diff(want, strings.TrimSpace(w.repo.Run("log", "-1", "--format=%B", "main"))); diff != "" {
		t.Error(diff)
	}
	if done := w.deliver(d); done.Writes != 0 || w.count() != "1" {
		t.Errorf("the same again: %+v, %s commits", done, w.count())
	}
	argo := w.repo.Run("show", "main:environments/production/_applications/shop.yaml")
	for _, text := range []string{"name: production-shop", "path: environments/production/shop", "targetRevision: main", "namespace: argocd"} {
		if !strings.Contains(argo, text) {
			t.Errorf("the Application does not say %q: %s", text, argo)
		}
	}
	d = w.delivery("shop", 2)
	d.Run.Kind, d.Remove = apply.Remove, []string{"shop/a.yaml", "shop/b.yaml"}
	w.repo.Commit("main", map[string]string{"environments/production/shop/README": "by people", "README": "x"})
	w.deliver(d)
	if diff := cmp.Diff([]string{"README", "environments/production/shop/README"}, w.files()); diff != "" {
		t.Error(diff)
	}
}

// With the Application of Argo CD goes what it deployed, also a database that is to stay.
func TestTheApplicationOfArgoStaysWithWhatStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver(w.delivery("shop", 1, file("shop/a.yaml", "a"), file("shop/db.yaml", "b")))
	d := w.delivery("shop", 2)
	d.Run.Kind, d.Remove, d.Stays = apply.Rollback, []string{"shop/a.yaml"}, []string{"shop"}
	w.deliver(d)
	if diff := cmp.Diff([]string{"environments/production/_applications/shop.yaml", "environments/production/shop/db.yaml"}, w.files()); diff != "" {
		t.Error(diff)
	}
}

func TestRenamedApplicationOfArgoGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver(w.delivery("old", 1, file("old/a.yaml", "a")))
	d := w.delivery("new", 2, file("new/a.yaml", "a"))
	d.Remove = []string{"old/a.yaml"}
	d.Former = func(context.Context) ([]string, error) { return []string{"old"}, nil }
	w.deliver(d)
	if diff := cmp.Diff([]string{"environments/production/_applications/new.yaml", "environments/production/new/a.yaml"}, w.files()); diff != "" {
		t.Error(diff)
	}
}

// Another application takes the name while this one is on its way: its Application stays.
func TestTheApplicationOfANameThatSomebodyTookStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver(w.delivery("new", 1, file("new/a.yaml", "a")))
	d := w.delivery("new", 2, file("new/a.yaml", "b"))
	taken, other := false, w.delivery("old", 3, file("old/b.yaml", "b"))
	d.Former = func(context.Context) ([]string, error) {
		if taken {
			return nil, nil
		}
		return []string{"old"}, nil
	}
	// It has built its commit when the other one's arrives.
	d.Alive = func(context.Context) error {
		if !taken {
			taken = true
			_, err := w.another().Deliver(t.Context(), other)
			return err
		}
		return nil
	}
	w.deliver(d)
	want := []string{"environments/production/_applications/new.yaml", "environments/production/_applications/old.yaml",
		"environments/production/new/a.yaml", "environments/production/old/b.yaml"}
	if diff := cmp.Diff(want, w.files()); diff != "" {
		t.Error(diff)
	}
}

func TestSharedObjectsHaveAnApplicationOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	some, none := true, false
	d := w.delivery("shop", 1, file("_shared/db.yaml", "a: 1\n"), file("shop/a.yaml", "a: 1\n"))
	d.Shared = &some
	w.deliver(d)
	want := []string{
		"environments/production/_applications/_shared.yaml", "environments/production/_applications/shop.yaml",
		"environments/production/_shared/db.yaml", "environments/production/shop/a.yaml",
	}
	if diff := cmp.Diff(want, w.files()); diff != "" {
		t.Error(diff)
	}
	text := w.repo.Run("show", "main:"+want[0])
	for _, line := range []string{"name: production.shared", "path: environments/production/_shared", "- resources-finalizer.argocd.argoproj.io"} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
	// A delivery that has nothing to do with what is shared leaves it alone.
	w.deliver(w.delivery("cart", 1, file("cart/a.yaml", "a: 1\n")))
	d = w.delivery("shop", 2, file("shop/a.yaml", "a: 1\n"))
	d.Shared, d.Remove = &none, []string{"_shared/db.yaml"}
	w.deliver(d)
	want = []string{
		"environments/production/_applications/cart.yaml", "environments/production/_applications/shop.yaml",
		"environments/production/cart/a.yaml", "environments/production/shop/a.yaml",
	}
	if diff := cmp.Diff(want, w.files()); diff != "" {
		t.Error(diff)
	}
}

func TestOthersCommitsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.repo.Commit("main", map[string]string{"README": "1"})
	var n atomic.Int32
	race := func() {
		if i := n.Add(1); i <= 3 {
			w.repo.Commit("main", map[string]string{fmt.Sprintf("others/%d", i): "x"})
		}
	}
	w.before.Store(&race)
	w.deliver(w.delivery("shop", 1, file("shop/a.yaml", "a")))
	want := []string{"README", "environments/production/_applications/shop.yaml", "environments/production/shop/a.yaml", "others/1", "others/2", "others/3"}
	if diff := cmp.Diff(want, w.files()); diff != "" {
		t.Error(diff)
	}
	if w.count() != "5" {
		t.Errorf("there are %s commits", w.count())
	}
}

func TestReplacedWorkerDoesNotPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	head := w.repo.Commit("main", map[string]string{"README": "1"})
	d := w.delivery("shop", 1, file("shop/a.yaml", "a"))
	d.Environment.Target.GitOps.Secrets = ""
	asked := false
	d.Alive = func(context.Context) error { asked = true; return queue.ErrLeaseLost }
	if _, err := w.target.Deliver(t.Context(), d); !errors.Is(err, queue.ErrLeaseLost) || !asked {
		t.Errorf("it answers %v", err)
	}
	if now := w.repo.Run("rev-parse", "main"); now != head {
		t.Error("it pushed")
	}
}

func TestForeignThingsStopADeliveryAndOutliveARemoval(t *testing.T) {
	t.Parallel()
	const at = "environments/production/shop/a.yaml"
	for name, foreign := range map[string]gitserver.File{
		"directory": {Path: at + "/x", Content: "x"}, "symlink": {Path: at, Mode: "120000", Content: "/etc/passwd"},
		"submodule": {Path: at, Mode: "160000", Content: strings.Repeat("1", 40)}, "folder is a file": {Path: filepath.Dir(at), Content: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.repo.CommitFiles("main", foreign)
			_, err := w.target.Deliver(t.Context(), w.delivery("shop", 1, file("shop/a.yaml", "a")))
			w.code(err, fault.TargetForeign)
			if w.count() != "1" {
				t.Error("it committed")
			}
			if name == "directory" || name == "symlink" {
				d := w.delivery("shop", 2)
				d.Remove = []string{"shop/a.yaml"}
				done, err := w.target.Deliver(t.Context(), d)
				if err != nil || done.Writes != 0 || w.count() != "1" {
					t.Errorf("a removal does not leave it alone: %v, %d writes", err, done.Writes)
				}
			}
		})
	}
}

func TestProtectedBranchIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.repo.Commit("main", map[string]string{"README": "1"})
	hook := "#!/bin/sh\necho protected >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(w.repo.Dir, "hooks", "pre-receive"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := w.target.Deliver(t.Context(), w.delivery("shop", 1, file("shop/a.yaml", "a")))
	w.code(err, fault.TargetRejected)
	if fault.ClassOf(err) != fault.Retryable {
		t.Errorf("%v is %s", err, fault.ClassOf(err))
	}
}

func TestRemoteThatIsDownIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.down.Store(true)
	_, err := w.target.Deliver(t.Context(), w.delivery("shop", 1, file("shop/a.yaml", "a")))
	if err == nil || fault.ClassOf(err) != fault.Retryable {
		t.Errorf("%v is %s", err, fault.ClassOf(err))
	}
	w.down.Store(false)
	w.deliver(w.delivery("shop", 1, file("shop/a.yaml", "a")))
}

func TestSecretsNeverReachTheRepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const value = "correct horse battery staple"
	folder := filepath.Join(w.target.Data, "secrets")
	w.deliver(w.delivery("shop", 1, file("shop/a.yaml", "a"), secret("shop/s.yaml", value)))
	if text, err := os.ReadFile(folder + "/shop/s.yaml"); err != nil || string(text) != value {
		t.Errorf("the Secret is %q, %v", text, err)
	}
	// A file that holds a secret no more moves into the repository, and back.
	w.deliver(w.delivery("shop", 2, file("shop/a.yaml", "a"), file("shop/s.yaml", "harmless")))
	if _, err := os.Stat(folder + "/shop/s.yaml"); err == nil {
		t.Error("the old Secret is still in its folder")
	}
	w.deliver(w.delivery("shop", 3, file("shop/a.yaml", "a"), secret("shop/s.yaml", value)))
	if strings.Contains(strings.Join(w.files(), " "), "s.yaml") {
		t.Errorf("the repository has %v", w.files())
	}
	gone := w.delivery("shop", 4)
	gone.Remove = []string{"shop/a.yaml", "shop/s.yaml"}
	w.deliver(gone)
	if _, err := os.Stat(folder + "/shop"); err == nil {
		t.Error("the Secret is still there")
	}
	d := w.delivery("shop", 5, secret("shop/s.yaml", value))
	d.Environment.Target.GitOps.Secrets = ""
	_, err := w.target.Deliver(t.Context(), d)
	w.code(err, fault.SecretInGit)
	for _, line := range strings.Split(w.repo.Run("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"), "\n") {
		if id, kind, _ := strings.Cut(line, " "); kind == "blob" && strings.Contains(w.repo.Run("cat-file", "-p", id), value) {
			t.Errorf("the secret is in object %s", id)
		}
	}
}

func TestManyTargetsShareARepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	targets := []*Target{w.target, w.another()}
	const each = 4
	var all sync.WaitGroup
	for i, target := range targets {
		for n := range each {
			all.Go(func() {
				name := fmt.Sprintf("app%d-%d", i, n)
				if _, err := target.Deliver(t.Context(), w.delivery(name, 1, file(name+"/a.yaml", name))); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	if n := fmt.Sprint(len(targets) * each); w.count() != n || len(w.files()) != 2*len(targets)*each {
		t.Errorf("%s commits instead of %s, files %v", w.count(), n, w.files())
	}
}

// A run that waits for another one's push leaves when a newer release waits; the one that pushes goes on.
func TestASupersededDeliveryDoesNotWaitForItsTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newer := make(chan struct{})
	meanwhile := func() {
		w.before.Store(nil)
		close(newer)
		d := w.delivery("cart", 1, file("cart/a.yaml", "a"))
		d.Superseded = newer
		if _, err := w.target.Deliver(t.Context(), d); !errors.Is(err, queue.ErrSuperseded) {
			t.Errorf("it answers %v", err)
		}
	}
	w.before.Store(&meanwhile)
	d := w.delivery("shop", 1, file("shop/a.yaml", "a"))
	d.Superseded = newer
	if done := w.deliver(d); done.Writes != 2 || w.count() != "1" {
		t.Errorf("it wrote %d files, and there are %s commits", done.Writes, w.count())
	}
}

// A push that is on its way while its run is replaced is refused, also if the replacing run finds everything as it should
// be: a revert, for instance.
func TestPushOfAReplacedRunIsRefusedThoughNothingElseIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver(w.delivery("shop", 1, file("shop/a.yaml", "a")))
	replaced := false
	late := w.delivery("shop", 2, file("shop/a.yaml", "b"))
	late.Alive = func(context.Context) error {
		if replaced {
			return queue.ErrLeaseLost
		}
		return nil
	}
	revert := w.delivery("shop", 3, file("shop/a.yaml", "a"))
	revert.Contested = true
	meanwhile := func() {
		w.before.Store(nil)
		replaced = true
		done, err := w.another().Deliver(t.Context(), revert)
		if err != nil || done.Writes != 0 {
			t.Errorf("the revert wrote %d files: %v", done.Writes, err)
		}
	}
	w.before.Store(&meanwhile)
	if _, err := w.target.Deliver(t.Context(), late); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("it answers %v", err)
	}
	if got := w.repo.Run("show", "main:environments/production/shop/a.yaml"); got != "a" {
		t.Errorf("the repository holds %q", got)
	}
}
