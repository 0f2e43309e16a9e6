package reconcile

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
)

func TestARollbackIsRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
	w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	for _, want := range []string{"a:1", "a:2", "a:1"} {
		w.back("alpha", 0)
		w.equal(want, w.deployed("alpha"))
	}
	w.equal("alpha score.yaml 5/5 held", w.apps())
}

// steered is a target that asks before it delivers.
type steered struct {
	apply.Target
	ask func(ctx context.Context, run apply.Run) error
}

func (s steered) Deliver(ctx context.Context, d apply.Delivery) (apply.Delivered, error) {
	if err := s.ask(ctx, d.Run); err != nil {
		return apply.Delivered{}, err
	}
	return s.Target.Deliver(ctx, d)
}

// A rollback that somebody cancels, or that fails, is not deployed again by itself when it is what the branch asks for by then and
// nothing else is held back any more.
func TestARollbackThatTheBranchAsksForIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// deploys says whether the second release is delivered; a person rolls it back then.
		deploys, cancels bool
		want             string
	}{
		"what failed goes back, and somebody cancels it":      {false, true, "generation 3 was cancelled"},
		"what failed goes back, and that fails too":           {false, false, "generation 3 failed: full"},
		"somebody rolls back, lifts the hold, and cancels it": {true, true, "generation 3 was cancelled"},
		"somebody rolls back, lifts the hold, and it fails":   {true, false, "generation 3 failed: full"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, end := newWorld(t), make(chan bool)
			w.Runner.Directory = steered{w.Runner.Directory, func(ctx context.Context, run apply.Run) error {
				switch {
				case run.Kind == apply.Rollback:
					select {
					case <-ctx.Done():
						return context.Cause(ctx)
					case <-end:
					}
				case run.Generation == 1 || c.deploys:
					return nil
				}
				return fault.New(fault.TargetForeign, "full")
			}}
			w.push(map[string]string{"score.yaml": file("alpha", "a:1")})
			w.send(map[string]string{"score.yaml": file("alpha", "a:2")})
			if c.deploys {
				w.quiet()
				if _, err := w.Rollback(t.Context(), "production", "alpha", 0, "", "dana"); err != nil {
					t.Fatal(err)
				}
			}
			w.until("it to go back", func() bool {
				a := w.app("alpha")
				return a.Generation == 3 && w.newest("alpha").State == apply.Running
			})
			reverted := w.send(map[string]string{"score.yaml": file("alpha", "a:1")})
			w.until("the branch to ask for it", func() bool { return w.app("alpha").Commit == reverted })
			if c.deploys {
				if err := w.Resume(t.Context(), "production", "alpha"); err != nil {
					t.Fatal(err)
				}
			}
			w.until("nothing to be held", func() bool { return w.app("alpha").Hold == nil })
			if c.cancels {
				w.cancel("alpha")
			} else {
				close(end)
			}
			w.until("it to end", func() bool { return w.newest("alpha").State.Final() })
			w.quiet()
			w.again()
			if a := w.app("alpha"); a.Generation != 3 || a.Hold == nil || a.Hold.HoldsAll() || !strings.Contains(a.Hold.Reason, c.want) {
				t.Errorf("it is at generation %d, held by %+v", a.Generation, a.Hold)
			}
		})
	}
}

// warehouse is a registry in memory: what it has lost, and what it does not tell.
type warehouse struct {
	mu   sync.Mutex
	gone map[string]bool
}

func (s *warehouse) lose(images ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = map[string]bool{}
	for _, i := range images {
		s.gone[i] = true
	}
}

func (s *warehouse) Gone(_ context.Context, image string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(image, "secret/") {
		return false, errors.New("not for you")
	}
	return s.gone[image], nil
}

func TestARollbackWhoseImageIsGoneSaysSoBeforeItStarts(t *testing.T) {
	t.Parallel()
	w, registry := newWorld(t), &warehouse{}
	w.Runner.Images = registry
	w.offer(platform.Files{"environments/production.yaml": production + "defaults: {images: {check: [shop/*]}}\n"})
	w.push(map[string]string{"score.yaml": file("alpha", "shop/a:1")})
	w.push(map[string]string{"score.yaml": file("alpha", "shop/a:2")})
	registry.lose("shop/a:1")
	_, err := w.Rollback(t.Context(), "production", "alpha", 0, "", "dana")
	w.code(err, fault.ImageGone)
	w.quiet()
	w.equal("alpha score.yaml 2/2", w.apps())
	f, _ := fault.As(err)
	_, after, _ := strings.Cut(f.Remedy, "--confirm ")
	if _, err := w.Rollback(t.Context(), "production", "alpha", 0, strings.TrimRight(after, "`."), "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("shop/a:1", w.deployed("alpha"))
}

func TestAFailedReleaseDoesNotGoBackToAnImageThatIsGone(t *testing.T) {
	t.Parallel()
	w, registry := newWorld(t), &warehouse{}
	w.Runner.Images = registry
	w.offer(platform.Files{"environments/production.yaml": production + "defaults: {images: {check: [shop/*]}}\n"})
	w.push(map[string]string{"score.yaml": file("alpha", "shop/a:1")})
	registry.lose("shop/a:1")
	w.block("alpha", "alpha.service.yaml")
	w.push(map[string]string{"score.yaml": file("alpha", "shop/a:2", "service: {ports: {web: {port: 80}}}\n")})
	if reason := w.app("alpha").Hold.Reason; !strings.Contains(reason, "generation 3 failed: the registry does not have shop/a:1 any more") {
		t.Error(reason)
	}
	w.equal("", w.rows(`SELECT name FROM steps WHERE run = (SELECT max(id) FROM runs) AND name <> 'check' AND started_at IS NOT NULL`))
}

func TestARollbackWhoseProvisionerIsGoneSaysSoBeforeItStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own := platform.Files{"environments/production.yaml": production, "x.provisioners.yaml": "- {uri: 'template://test/cache', type: cache, outputs: 'host: c'}\n"}
	w.offer(own)
	w.push(map[string]string{"score.yaml": file("alpha", "a:1", "resources: {mem: {type: cache}}\n")})
	w.equal("alpha score.yaml 1/1", w.apps())
	w.push(map[string]string{"score.yaml": file("alpha", "a:2")})
	w.equal("alpha score.yaml 2/2", w.apps())
	w.offer(platform.Files{"environments/production.yaml": production})
	w.quiet()
	_, err := w.Rollback(t.Context(), "production", "alpha", 0, "", "dana")
	w.code(err, fault.ProvisionerGone)
	if f, ok := fault.As(err); !ok || !strings.Contains(f.Message, "template://test/cache") {
		t.Error(err)
	}
	w.equal("a:2", w.deployed("alpha"))
}
