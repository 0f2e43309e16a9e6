package graph

import (
	"fmt"
	"time"
)

// Node is a step of a run.
type Node struct {
	// Name is unique in the run: "look", "look[2]" for an item of it, "look/ask" for a step of what it uses.
	Name string
	// Parent is the step that this one belongs to, "" for none. It stands before this one in the graph.
	Parent string
	// Needs are the names of steps of the same parent that must have passed before.
	Needs []string
	// Group says that the step does nothing itself: it ends when its children have.
	Group bool
	// AtOnce is how many of a group's children run at once; 0 means as many as there are.
	AtOnce int
	State  State
	// Until is when a parked step may go on.
	Until time.Time
}

// Graph holds the steps of a run. It is not safe for concurrent use.
type Graph struct {
	nodes    []*Node
	byName   map[string]*Node
	children map[string][]*Node
}

// New makes a graph without steps.
func New() *Graph { return &Graph{byName: map[string]*Node{}, children: map[string][]*Node{}} }

// Add adds a step. Its parent must be there, and its name must not.
func (g *Graph) Add(n *Node) error {
	if g.byName[n.Name] != nil {
		return fmt.Errorf("there are two steps %q", n.Name)
	}
	if n.Parent != "" && (g.byName[n.Parent] == nil || !g.byName[n.Parent].Group) {
		return fmt.Errorf("step %q belongs to %q, which is no group", n.Name, n.Parent)
	}
	g.nodes = append(g.nodes, n)
	g.byName[n.Name] = n
	g.children[n.Parent] = append(g.children[n.Parent], n)
	return nil
}

// Set brings a step into another state.
func (g *Graph) Set(n *Node, to State) error {
	if !n.State.May(to) {
		return fmt.Errorf("step %q cannot go from %s to %s", n.Name, n.State, to)
	}
	n.State = to
	return nil
}

// Len is the number of steps.
func (g *Graph) Len() int { return len(g.nodes) }

// Children returns the steps that belong to one, "" for those that belong to none, in the order of their adding.
func (g *Graph) Children(name string) []*Node { return g.children[name] }

// Failed says that a step failed for good.
func (g *Graph) Failed() bool {
	for _, n := range g.nodes {
		if n.State == Failed {
			return true
		}
	}
	return false
}

// Next returns the steps that may begin or go on now, in order, at most limit of them. busy says which leaves run here. After
// a failure nothing begins any more.
func (g *Graph) Next(now time.Time, limit int, busy func(*Node) bool) (list []*Node) {
	failed := g.Failed()
	active := map[string]int{} // children by parent that run
	for _, n := range g.nodes {
		if n.State == Running || n.State == Parked {
			active[n.Parent]++
		}
	}
	for _, n := range g.nodes {
		if len(list) >= limit {
			break
		}
		switch {
		case n.State == Running && !n.Group && !busy(n):
			list = append(list, n) // its worker died: what it began is brought to an end
		case failed:
		case n.State == Waiting && g.free(n, active[n.Parent]):
			active[n.Parent]++
			list = append(list, n)
		case n.State == Parked && !n.Until.After(now):
			list = append(list, n)
		}
	}
	return list
}

// free says whether nothing keeps a waiting step from beginning.
func (g *Graph) free(n *Node, siblings int) bool {
	if p := g.byName[n.Parent]; p != nil && (p.State != Running || p.AtOnce > 0 && siblings >= p.AtOnce) {
		return false
	}
	for _, need := range n.Needs {
		if other := g.byName[need]; other == nil || !other.State.Passed() {
			return false
		}
	}
	return true
}

// Done returns a group that runs and whose children have all ended, the innermost first, and what it ended as. nil: none.
func (g *Graph) Done() (*Node, State) {
	for i := len(g.nodes) - 1; i >= 0; i-- {
		n := g.nodes[i]
		if !n.Group || n.State != Running {
			continue
		}
		if end, ended := g.end(n.Name); ended {
			return n, end
		}
	}
	return nil, ""
}

// End says how the run ends, once all steps that belong to no other have.
func (g *Graph) End() (State, bool) { return g.end("") }

// end sums up children: failed if one failed or was cancelled.
func (g *Graph) end(parent string) (State, bool) {
	state := Succeeded
	for _, n := range g.children[parent] {
		if !n.State.Final() {
			return "", false
		}
		if !n.State.Passed() {
			state = Failed
		}
	}
	return state, true
}

// Doomed returns the steps that will not begin because another one failed.
func (g *Graph) Doomed() (list []*Node) {
	if !g.Failed() {
		return nil
	}
	for _, n := range g.nodes {
		if n.State == Waiting || n.State == Parked {
			list = append(list, n)
		}
	}
	return list
}

// Wake is the earliest time at which a parked step may go on.
func (g *Graph) Wake() (at time.Time, parked bool) {
	for _, n := range g.nodes {
		if n.State == Parked && (!parked || n.Until.Before(at)) {
			at, parked = n.Until, true
		}
	}
	return at, parked
}
