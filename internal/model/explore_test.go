package model

import "slices"

// step is something that can happen next.
type step struct {
	name string
	next state
}

// found is what a walk through all states came to.
type found struct {
	states int
	// why says which promise was broken, "" if all hold, and trace the shortest way there.
	why   string
	trace []string
}

// explore walks through all states that can be reached, the nearest first. Every state must keep the promises; where
// nothing can happen any more, everything must have ended well; and no way may lead back to where it came from, so that it
// does end.
func explore(begin state, steps func(state) []step, broken func(s state, last bool) string) found {
	type origin struct {
		from state
		name string
	}
	origins := map[state]origin{begin: {}}
	order := []state{begin}
	for i := 0; i < len(order); i++ {
		s := order[i]
		list := steps(s)
		if why := broken(s, len(list) == 0); why != "" {
			f := found{states: len(origins), why: why}
			for ; s != begin; s = origins[s].from {
				f.trace = append(f.trace, origins[s].name)
			}
			slices.Reverse(f.trace)
			return f
		}
		for _, next := range list {
			if _, seen := origins[next.next]; !seen {
				origins[next.next] = origin{s, next.name}
				order = append(order, next.next)
			}
		}
	}
	f := found{states: len(order)}
	if !ends(order, steps) {
		f.why = "it need not end"
	}
	return f
}

// ends says whether every way through the states ends: they can be put into an order in which each step leads forward.
func ends(order []state, steps func(state) []step) bool {
	into := make(map[state]int, len(order))
	for _, s := range order {
		for _, next := range steps(s) {
			into[next.next]++
		}
	}
	var free []state
	for _, s := range order {
		if into[s] == 0 {
			free = append(free, s)
		}
	}
	done := 0
	for ; done < len(free); done++ {
		for _, next := range steps(free[done]) {
			if into[next.next]--; into[next.next] == 0 {
				free = append(free, next.next)
			}
		}
	}
	return done == len(order)
}
