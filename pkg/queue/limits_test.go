package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
)

// crowd counts how many jobs run at once for each owner and repository.
type crowd struct {
	mu        sync.Mutex
	now, most map[string]int
}

func (c *crowd) add(n int, names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		c.now[name] += n
		c.most[name] = max(c.most[name], c.now[name])
	}
}

func (c *crowd) at(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now[name]
}

func TestOneRepositoryDoesNotTakeAllWorkersFromOthers(t *testing.T) {
	t.Parallel()
	const applications, perRepository, perOwner = 500, 4, 6
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.PerRepository, cfg.PerOwner = perRepository, perOwner
	running := crowd{now: map[string]int{}, most: map[string]int{}}
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	queues := replicas(t, pool.Config().ConnString(), cfg, map[string]queue.Handler{"run": work(func(_ context.Context, job *queue.Job) error {
		repository, _, _ := strings.Cut(job.Key, "#")
		owner, _, _ := strings.Cut(repository, "/")
		running.add(1, repository, owner)
		defer running.add(-1, repository, owner)
		if owner == "big" {
			<-gate
		}
		return nil
	})})
	add := func(repository string, count int) {
		var inserts []queue.Insert
		for n := range count {
			inserts = append(inserts, queue.Insert{Kind: "run", Key: fmt.Sprintf("%s#%d", repository, n), Owner: repository})
		}
		enqueue(t, pool, queues[0], inserts...)
	}
	add("big/one", applications)
	add("big/two", applications/5)
	for _, q := range queues {
		run(t, q)
	}
	t.Cleanup(open) // Before the queues are stopped.
	until(t, "the big owner has its share", func() bool { return running.at("big") == perOwner })
	add("small/one", applications/10)
	until(t, "the small owner's jobs are done", func() bool { return live(t, queues[0]) == applications+applications/5 })
	if running.at("big/one") > perRepository || running.at("big") != perOwner {
		t.Errorf("running: %v", running.now)
	}
	open()
	until(t, "all jobs are done", func() bool { return live(t, queues[0]) == 0 })
	for name, limit := range map[string]int{"big/one": perRepository, "big/two": perRepository, "small/one": perRepository, "big": perOwner, "small": perOwner} {
		if running.most[name] > limit {
			t.Errorf("%d jobs of %s ran at once, the limit is %d", running.most[name], name, limit)
		}
	}
}
