package directory

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func delivery(token int64, files ...apply.File) apply.Delivery {
	e := &platform.Environment{Name: "production"}
	e.Target.Directory = &platform.DirectoryTarget{Path: "out"}
	return apply.Delivery{
		Environment: e, Run: apply.Run{Name: "shop", Token: token}, Write: files,
		Alive: func(context.Context) error { return nil }, Log: func(string, ...any) {},
		Former: func(context.Context) ([]string, error) { return nil, nil },
	}
}

func file(path, content string) apply.File { return apply.File{Path: path, Content: []byte(content)} }

// tree returns the files of a folder with their modes, without ours.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		if filepath.Dir(name) != ".reconciler" {
			out[name] = info.Mode().String() + " " + string(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func deliver(t *testing.T, target *Target, d apply.Delivery) apply.Delivered {
	t.Helper()
	done, err := target.Deliver(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestSameFilesAreWrittenOnce(t *testing.T) {
	t.Parallel()
	target := &Target{Data: t.TempDir()}
	root := filepath.Join(target.Data, "out")
	secret := file("shop/s.yaml", "s")
	secret.Secret = true
	if n := deliver(t, target, delivery(1, file("shop/a.yaml", "a"), secret)).Writes; n != 2 {
		t.Errorf("%d writes", n)
	}
	if n := deliver(t, target, delivery(1, file("shop/a.yaml", "a"), secret)).Writes; n != 0 {
		t.Errorf("%d writes of the same", n)
	}
	if diff := cmp.Diff(map[string]string{"shop/a.yaml": "-rw-r--r-- a", "shop/s.yaml": "-rw------- s"}, tree(t, root)); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(root, "shop/foreign"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d := delivery(2)
	d.Remove = []string{"shop/a.yaml", "shop/s.yaml", "shop/never.yaml"}
	if n := deliver(t, target, d).Writes; n != 2 {
		t.Errorf("%d removed", n)
	}
	if diff := cmp.Diff(map[string]string{"shop/foreign": "-rw-r--r-- "}, tree(t, root)); diff != "" {
		t.Error(diff)
	}
}

func TestFenceRefusesOlderToken(t *testing.T) {
	t.Parallel()
	target := &Target{Data: t.TempDir()}
	deliver(t, target, delivery(100, file("shop/a.yaml", "new")))
	late := delivery(99, file("shop/a.yaml", "old"))
	late.Alive = func(context.Context) error { return queue.ErrLeaseLost }
	if _, err := target.Deliver(t.Context(), late); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("it answers %v", err)
	}
	// The database says that nobody replaced the run: the folder is of another one.
	_, err := target.Deliver(t.Context(), delivery(99, file("shop/a.yaml", "old")))
	if f, ok := fault.As(err); !ok || f.Code != fault.TargetFenced || !strings.Contains(f.Remedy, ".reconciler") {
		t.Errorf("it answers %v", err)
	}
	gone := delivery(101, file("shop/a.yaml", "newer"))
	gone.Alive = func(context.Context) error { return queue.ErrLeaseLost }
	if _, err := target.Deliver(t.Context(), gone); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("it answers %v", err)
	}
	if got := tree(t, filepath.Join(target.Data, "out"))["shop/a.yaml"]; got != "-rw-r--r-- new" {
		t.Errorf("the file is %q", got)
	}
}

// A worker that was stopped while it held the lock does not hang its successor for ever.
func TestWaitForTheLockCanBeGivenUp(t *testing.T) {
	t.Parallel()
	target := &Target{Data: t.TempDir()}
	unlock, err := target.fence(t.Context(), filepath.Join(target.Data, "out"), delivery(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := target.Deliver(ctx, delivery(2, file("shop/a.yaml", "a"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it answers %v", err)
	}
	superseded := delivery(2, file("shop/a.yaml", "a"))
	newer := make(chan struct{})
	superseded.Superseded = newer
	close(newer)
	if _, err := target.Deliver(t.Context(), superseded); !errors.Is(err, queue.ErrSuperseded) {
		t.Errorf("it answers %v", err)
	}
	unlock()
	deliver(t, target, delivery(2, file("shop/a.yaml", "a")))
}

// Workers are not held by those who wait for a stopped one: all come again, the first after a while, the others at once.
func TestALockThatIsHeldForLongIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	target := &Target{Data: t.TempDir()}
	unlock, err := target.fence(t.Context(), filepath.Join(target.Data, "out"), delivery(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	next := delivery(2, file("shop/a.yaml", "a"))
	began := time.Now()
	var all sync.WaitGroup
	for range 3 * apply.LaneWidth {
		all.Go(func() {
			if _, err := target.Deliver(t.Context(), next); !isBusy(err) {
				t.Errorf("it answers %v", err)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > 3*apply.TurnWait {
		t.Errorf("they waited for %s", took)
	}
	other := delivery(1, file("till/a.yaml", "a"))
	other.Run.Name = "till"
	deliver(t, target, other)
	unlock()
	deliver(t, target, next)
}

func isBusy(err error) bool {
	_, ok := errors.AsType[*apply.Busy](err)
	return ok
}

// A worker was stopped after it had asked whether the run is its own. Meanwhile the application gets another name, or another
// application has the last use of what is shared: whoever changes the same files waits, and has the last word.
func TestWhoChangesTheSameFilesWaitsForAStoppedWorker(t *testing.T) {
	t.Parallel()
	named := func(name string, d apply.Delivery) apply.Delivery { d.Run.Name = name; return d }
	renamed := named("till", delivery(2, file("till/a.yaml", "new")))
	renamed.Former = func(context.Context) ([]string, error) { return []string{"shop"}, nil }
	removing := named("till", delivery(1)) // tokens of other applications come in any order
	removing.Remove = []string{"shop/a.yaml"}
	gone := delivery(5)
	gone.Remove = []string{"_shared/x.yaml"}
	for name, c := range map[string]struct{ stopped, next apply.Delivery }{
		"a former name":          {delivery(1, file("shop/a.yaml", "old")), renamed},
		"a file of a name":       {delivery(4, file("shop/a.yaml", "old")), removing},
		"shared, given and kept": {gone, named("till", delivery(4, file("_shared/x.yaml", "x")))},
		"shared, both write":     {delivery(9, file("_shared/x.yaml", "y")), named("till", delivery(3, file("_shared/x.yaml", "x")))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := &Target{Data: t.TempDir()}
			asked, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			c.stopped.Alive = func(context.Context) error { close(asked); <-goOn; return nil }
			go func() { _, err := target.Deliver(t.Context(), c.stopped); ended <- err }()
			<-asked
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := target.Deliver(ctx, c.next); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("beside the stopped worker it answers %v", err)
			}
			close(goOn)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			deliver(t, target, c.next)
		})
	}
}

func TestForeignThingsStopADeliveryAndOutliveARemoval(t *testing.T) {
	t.Parallel()
	elsewhere := t.TempDir()
	for name, c := range map[string]struct {
		put   func(root string) error
		write []apply.File
		gone  []string
	}{
		"a folder where a manifest belongs":  {func(r string) error { return os.MkdirAll(r+"/shop/a.yaml/x", 0o755) }, []apply.File{file("shop/a.yaml", "a")}, nil},
		"a folder where a manifest was":      {func(r string) error { return os.MkdirAll(r+"/shop/a.yaml/x", 0o755) }, nil, []string{"shop/a.yaml"}},
		"an empty folder":                    {func(r string) error { return os.MkdirAll(r+"/shop/a.yaml", 0o755) }, nil, []string{"shop/a.yaml"}},
		"a file where the folder belongs":    {func(r string) error { return os.WriteFile(r+"/shop", nil, 0o644) }, []apply.File{file("shop/a.yaml", "a")}, nil},
		"a symlink where the folder belongs": {func(r string) error { return os.Symlink(elsewhere, r+"/shop") }, []apply.File{file("shop/a.yaml", "a")}, nil},
		"a symlink where the folder was":     {func(r string) error { return os.Symlink(elsewhere, r+"/shop") }, nil, []string{"shop/kept"}},
		"a path that leaves":                 {func(string) error { return nil }, []apply.File{file("../../etc/a", "a")}, nil},
		"a removal that leaves":              {func(string) error { return nil }, nil, []string{"../../etc/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			target := &Target{Data: t.TempDir()}
			root := filepath.Join(target.Data, "out")
			if err := errors.Join(os.MkdirAll(root, 0o755), c.put(root), os.WriteFile(elsewhere+"/kept", nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			d := delivery(1, c.write...)
			d.Remove = c.gone
			done, err := target.Deliver(t.Context(), d)
			if f, ok := fault.As(err); len(c.write) > 0 && (!ok || f.Code != fault.TargetForeign) {
				t.Errorf("it answers %v", err)
			}
			// A removal leaves it alone, so that what is foreign cannot keep a rollback back.
			if len(c.write) == 0 && (err != nil || done.Writes != 0) {
				t.Errorf("it answers %v with %d writes", err, done.Writes)
			}
			if diff := cmp.Diff(map[string]string{"kept": "-rw-r--r-- "}, tree(t, elsewhere)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A symlink at a manifest's own place is replaced, not followed.
func TestSymlinkIsReplaced(t *testing.T) {
	t.Parallel()
	target := &Target{Data: t.TempDir()}
	root := filepath.Join(target.Data, "out")
	victim := filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.MkdirAll(root+"/shop", 0o755), os.WriteFile(victim, []byte("a"), 0o644), os.Symlink(victim, root+"/shop/a.yaml")); err != nil {
		t.Fatal(err)
	}
	deliver(t, target, delivery(1, file("shop/a.yaml", "a")))
	if info, err := os.Lstat(root + "/shop/a.yaml"); err != nil || !info.Mode().IsRegular() {
		t.Errorf("it is %v, %v", info, err)
	}
}

// What a run that was killed left half written does not stand in the way, nor among the manifests.
func TestHalfWrittenFileIsReplaced(t *testing.T) {
	t.Parallel()
	target := &Target{Data: t.TempDir()}
	root := filepath.Join(target.Data, "out")
	if err := os.MkdirAll(filepath.Join(root, ".reconciler"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, ".reconciler", "shop.new"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	deliver(t, target, delivery(1, apply.File{Path: "shop/s.yaml", Content: []byte("whole"), Secret: true}))
	if diff := cmp.Diff(map[string]string{"shop/s.yaml": "-rw------- whole"}, tree(t, root)); diff != "" {
		t.Error(diff)
	}
}
