package score

import "slices"

// ResourceOrder returns the names of the resources so that each comes after those whose outputs its params use;
// otherwise sorted by name. A loaded workload has no circles.
func (w *Workload) ResourceOrder() []string {
	needs := w.ResourceNeeds()
	var out []string
	done := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if done[name] {
			return
		}
		done[name] = true
		for _, n := range needs[name] {
			visit(n)
		}
		out = append(out, name)
	}
	for _, r := range w.Resources {
		visit(r.Name)
	}
	return out
}

// ResourceNeeds returns for each resource whose params use others the names of those, sorted.
func (w *Workload) ResourceNeeds() map[string][]string {
	refs := map[string][]Reference{}
	for r := range w.References() {
		if r.Use == InParams && r.Resource() != "" {
			refs[r.Owner] = append(refs[r.Owner], r)
		}
	}
	out := make(map[string][]string, len(refs))
	for name, list := range refs {
		out[name] = targets(list)
	}
	return out
}

// circles returns circles of a graph, each as the names along it with the first one again at the end, starting at its
// smallest name: one for each edge that closes a circle in a walk by name. Names must be sorted.
func circles(names []string, next map[string][]string) [][]string {
	const (
		fresh = iota
		open
		closed
	)
	state := map[string]int{}
	var trail []string
	var out [][]string
	var visit func(name string)
	visit = func(name string) {
		state[name] = open
		trail = append(trail, name)
		for _, n := range next[name] {
			switch {
			case state[n] == fresh && has(names, n):
				visit(n)
			case state[n] == open && len(out) < maxFaults:
				out = append(out, turned(trail[slices.Index(trail, n):]))
			}
		}
		trail = trail[:len(trail)-1]
		state[name] = closed
	}
	for _, name := range names {
		if state[name] == fresh {
			visit(name)
		}
	}
	return out
}

// turned returns a circle from its smallest name back to it.
func turned(circle []string) []string {
	i := slices.Index(circle, slices.Min(circle))
	out := slices.Concat(circle[i:], circle[:i])
	return append(out, out[0])
}
