package kubernetes

import (
	"slices"

	"github.com/innominatus/reconciler/pkg/fault"
)

// role is what a container is in its Pod, by what others wait for.
type role uint8

const (
	// regular containers run side by side.
	regular role = iota
	// completes: an init container that ends before the next one starts.
	completes
	// started: a sidecar, an init container that is restarted always; the next starts once it runs.
	started
	// healthy: a sidecar with a startup probe; the next starts once the probe succeeds.
	healthy
)

type roles struct {
	of map[string]role
	// first are the names of the init containers and sidecars in the order in which they start.
	first []string
}

// order decides from the `before` of every container what the others are: it names the containers that have to reach a
// condition before this one starts. That the names exist and that there is no cycle is checked by pkg/score.
func (r *renderer) order() roles {
	out := roles{of: map[string]role{}}
	waits := map[string][]string{} // container -> those that must be first
	for i := range r.w.Containers {
		c := &r.w.Containers[i]
		for _, b := range c.Before {
			want := map[string]role{"started": started, "healthy": healthy, "complete": completes}[b.Ready]
			have := out.of[b.Container]
			if have != regular && have != want && (have == completes || want == completes) {
				r.bad(fault.RenderOrder, b.At, "container %s cannot both run to completion before one container and keep running for another", b.Container)
			}
			out.of[b.Container] = max(have, want)
			waits[c.Name] = append(waits[c.Name], b.Container)
		}
	}
	var visit func(name string)
	visit = func(name string) {
		slices.Sort(waits[name])
		for _, earlier := range waits[name] {
			visit(earlier)
		}
		if out.of[name] != regular && !slices.Contains(out.first, name) {
			out.first = append(out.first, name)
		}
	}
	for i := range r.w.Containers {
		visit(r.w.Containers[i].Name)
	}
	return out
}
