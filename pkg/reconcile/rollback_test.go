package reconcile

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

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
