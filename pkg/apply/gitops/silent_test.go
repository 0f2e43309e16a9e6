package gitops

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/platform"
)

// silenced puts a proxy before the world's repository.
func silenced(w *world, timeout time.Duration) *testenv.ToxicProxy {
	w.Helper()
	at, err := url.Parse(w.repo.URL)
	if err != nil {
		w.Fatal(err)
	}
	proxy := testenv.NewToxicProxy(w, at.Host)
	w.target.Client = gitrepo.NewClient(gitrepo.ClientConfig{Timeout: timeout})
	w.Cleanup(w.target.Client.Close)
	w.target.Remote = func(t *platform.GitOpsTarget) gitrepo.Remote {
		return gitrepo.Remote{URL: strings.Replace(t.Repository, at.Host, proxy.Address, 1)}
	}
	if err := proxy.Swallow(); err != nil {
		w.Fatal(err)
	}
	return proxy
}

func isBusy(err error) bool {
	_, ok := errors.AsType[*apply.Busy](err)
	return ok
}

// While a host does not answer, one delivery at a time waits for it. As soon as it answers, they take turns again.
func TestASilentHostHoldsOneWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy := silenced(w, 2*apply.TurnWait)
	d := w.delivery("shop", 1, file("shop/a.yaml", "a"), secret("shop/s.yaml", "x"))
	deliver := func(n int) (busy, silent int) {
		var all sync.WaitGroup
		var put, failed atomic.Int32
		for range n {
			all.Go(func() {
				switch _, err := w.target.Deliver(t.Context(), d); {
				case isBusy(err):
					put.Add(1)
				case err != nil:
					w.code(err, fault.GitUnreachable)
					failed.Add(1)
				}
			})
		}
		all.Wait()
		return int(put.Load()), int(failed.Load())
	}
	for range 2 {
		if busy, silent := deliver(3 * apply.LaneWidth); silent != 1 || busy != 3*apply.LaneWidth-1 {
			t.Errorf("%d were put off, and %d asked in vain", busy, silent)
		}
	}
	if err := proxy.Mend(); err != nil {
		t.Fatal(err)
	}
	w.deliver(d)
	if busy, silent := deliver(apply.LaneWidth); busy+silent > 0 {
		t.Errorf("%d are put off, %d fail", busy, silent)
	}
}

// A host with many repositories does not answer: not even at first does it take all workers.
func TestTheRepositoriesOfASilentHostHoldFewWorkers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	silenced(w, 2*apply.TurnWait)
	const runs = 3 * hostWidth
	for round, most := range []int{hostWidth, 1} {
		var all sync.WaitGroup
		var asked atomic.Int32
		for i := range runs {
			all.Go(func() {
				d := w.delivery("shop", 1, file("shop/a.yaml", "a"))
				d.Environment.Target.GitOps.Repository = fmt.Sprintf("%s/%d", w.repo.URL, i)
				if _, err := w.target.Deliver(t.Context(), d); !isBusy(err) {
					asked.Add(1)
				}
			})
		}
		all.Wait()
		if n := int(asked.Load()); n != most {
			t.Errorf("in round %d %d asked, not %d", round, n, most)
		}
	}
}
