//go:build chaos

package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/innominatus/reconciler/internal/chaos/check"
	"github.com/innominatus/reconciler/internal/testenv"
)

func TestMain(m *testing.M) {
	// toxiproxy does not end what passes the data of a connection that broke while it was disturbed.
	testenv.Main(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}

// defaults of SEED and DURATION.
const (
	defaultSeed     = 1
	defaultDuration = 3 * time.Minute
)

// The servers may be killed, stopped, cut off, and their database taken from them: in the end all is as the branches say,
// and everything that happened on the way was in order, once, and told.
func TestChaosLeavesEverythingInOrder(t *testing.T) {
	seed, duration := settings(t)
	plan := newSchedule(seed, duration)
	t.Logf("SEED=%d DURATION=%s: %d acts, %d faults\n%s", seed, duration, len(plan.acts), len(plan.processes)+len(plan.surroundings), plan)
	w := newWorld(t, seed)
	w.write("schedule", plan.String())
	w.open()
	w.hire()
	w.began = time.Now()
	w.say("the world is there")
	seen, seenGuided := check.Watch(w.path("target")), check.Watch(w.path(guided))

	var wait sync.WaitGroup
	var struck [2]error
	if os.Getenv("FAULTS") == "none" { // to see whether a violation needs any
		plan.processes, plan.surroundings = nil, nil
	}
	wait.Go(func() { struck[0] = w.strike(plan.processes) })
	wait.Go(func() { struck[1] = w.strike(plan.surroundings) })
	late := w.act(plan.acts)
	wait.Wait()
	for _, err := range struck {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.say("all acts and faults are done; the latest act was %.1f s late", late.Seconds())
	if duration >= defaultDuration {
		w.fulfil(plan)
		w.say("there was something of each kind")
	}
	settled := time.Now()
	w.settle()
	w.say("all is quiet after %.1f s", time.Since(settled).Seconds())
	verdict := w.judge(map[string]check.Folder{
		inFolder: {Path: w.path("target"), Observed: seen()}, guided: {Path: w.path(guided), Observed: seenGuided()},
	})
	if duration >= defaultDuration {
		for _, missing := range plan.missing(w.counts.done, verdict.Numbers) {
			t.Error(missing)
		}
	}
	if t.Failed() {
		t.Logf("run it again with: make chaos SEED=%d DURATION=%s", seed, duration)
	}
}

// hire has all repositories cloned, and those of applications filled.
func (w *world) hire() {
	w.Helper()
	w.git(w.dir, "clone", "--quiet", w.deploy.GitURL(w.gitea.Admin), w.path("deployment"))
	w.authors = make([]*author, repositories)
	var wait sync.WaitGroup
	for i := range w.authors {
		wait.Go(func() { w.authors[i] = newAuthor(w, i); w.authors[i].fill() })
	}
	wait.Wait()
}

// judge stops the servers and has the checker look at what they left.
func (w *world) judge(folders map[string]check.Folder) check.Verdict {
	w.Helper()
	ends, byItself := 0, 0
	for _, r := range w.replicas {
		r.mu.Lock()
		ends, byItself = ends+r.ends, byItself+r.byItself
		r.mu.Unlock()
		r.stop()
	}
	evidence := w.evidence(folders)
	record, err := json.MarshalIndent(evidence.Office, "", " ")
	w.must(err)
	w.write("office", string(record))
	verdict, err := check.Run(w.Context(), evidence)
	w.must(err)
	w.say("servers ended %d times, %d by themselves", ends, byItself)
	w.say("acts and faults: %s", &w.counts)
	w.say("effects: %s", verdict)
	for _, v := range verdict.Violations {
		w.note("violation: %s", v)
		w.Error(v)
	}
	return verdict
}

// settings reads SEED, a number or "random", and DURATION.
func settings(t *testing.T) (seed uint64, duration time.Duration) {
	t.Helper()
	seed, duration = defaultSeed, defaultDuration
	var err error
	switch text := os.Getenv("SEED"); text {
	case "":
	case "random":
		seed = rand.Uint64N(1_000_000)
	default:
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("DURATION"); text != "" {
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	return seed, duration
}

// counter counts what was done.
type counter struct {
	mu   sync.Mutex
	done map[string]int
}

func (c *counter) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = map[string]int{}
	}
	c.done[what]++
}

func (c *counter) of(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done[what]
}

func (c *counter) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(c.done)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, c.done[name]))
	}
	return strings.Join(parts, ", ")
}
