package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestWalksAllPairsOfStates(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{
		"waiting running": true, "waiting skipped": true, "waiting failed": true, "waiting cancelled": true,
		"running running": true, "running parked": true, "running succeeded": true, "running failed": true, "running cancelled": true,
		"parked running": true, "parked cancelled": true,
	}
	states := []State{Waiting, Running, Parked, Succeeded, Skipped, Failed, Cancelled}
	for _, from := range states {
		for _, to := range states {
			g, n := New(), &Node{Name: "a", State: from}
			if err := g.Add(n); err != nil {
				t.Fatal(err)
			}
			want := allowed[fmt.Sprintf("%s %s", from, to)]
			if err := g.Set(n, to); (err == nil) != want || want && n.State != to || !want && n.State != from {
				t.Errorf("from %s to %s: %v", from, to, err)
			}
		}
		if from.Final() != (len(Transitions()[from]) == 0) || from.Passed() && !from.Final() {
			t.Errorf("%s: final %v, passed %v", from, from.Final(), from.Passed())
		}
	}
}

func build(t *testing.T, nodes ...*Node) *Graph {
	t.Helper()
	g := New()
	for _, n := range nodes {
		if n.State == "" {
			n.State = Waiting
		}
		if err := g.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func next(g *Graph, now time.Time) (names []string) {
	for _, n := range g.Next(now, 100, func(*Node) bool { return true }) {
		names = append(names, n.Name)
	}
	return names
}

func TestStepsBeginWhenWhatTheyNeedHasPassed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a, b, c, group := &Node{Name: "a"}, &Node{Name: "b", State: Skipped}, &Node{Name: "c", Needs: []string{"a", "b"}}, &Node{Name: "g", Group: true, AtOnce: 2}
	g := build(t, a, b, c, group, &Node{Name: "g[0]", Parent: "g"}, &Node{Name: "g[1]", Parent: "g"}, &Node{Name: "g[2]", Parent: "g"})
	steps := []struct {
		act  func()
		want []string
	}{
		{func() {}, []string{"a", "g"}},
		{func() { group.State = Running }, []string{"a", "g[0]", "g[1]"}},
		{func() { a.State, a.Until = Parked, now.Add(time.Second) }, []string{"g[0]", "g[1]"}},
		{func() { a.State = Succeeded }, []string{"c", "g[0]", "g[1]"}},
		{func() { g.byName["g[0]"].State = Running }, []string{"c", "g[1]"}},
		{func() { g.byName["g[1]"].State = Failed }, nil},
	}
	for i, s := range steps {
		s.act()
		if got := next(g, now); !slices.Equal(got, s.want) {
			t.Errorf("step %d: %v, want %v", i, got, s.want)
		}
	}
	if at, parked := build(t, &Node{Name: "x", State: Parked, Until: now}, &Node{Name: "y", State: Parked, Until: now.Add(-1)}).Wake(); !parked || at != now.Add(-1) {
		t.Errorf("wakes at %v", at)
	}
}

func TestRefusesStepsThatFitNowhere(t *testing.T) {
	t.Parallel()
	g := build(t, &Node{Name: "a"})
	for _, n := range []*Node{{Name: "a"}, {Name: "b", Parent: "c"}, {Name: "b", Parent: "a"}} {
		if g.Add(n) == nil {
			t.Errorf("%+v was taken", n)
		}
	}
}

// random makes a graph of groups within groups whose steps need earlier siblings.
func random(r *rand.Rand) *Graph {
	g := New()
	var groups []string
	for i := range 2 + r.IntN(30) {
		n := &Node{Name: fmt.Sprint(i), State: Waiting, Group: r.IntN(4) == 0, AtOnce: r.IntN(3)}
		if len(groups) > 0 && r.IntN(2) == 0 {
			n.Parent = groups[r.IntN(len(groups))]
		}
		for _, s := range g.Children(n.Parent) {
			if r.IntN(4) == 0 {
				n.Needs = append(n.Needs, s.Name)
			}
		}
		if err := g.Add(n); err != nil {
			panic(err)
		}
		if n.Group {
			groups = append(groups, n.Name)
		}
	}
	return g
}

// Whatever the graph and in whatever order its steps end, it ends, and each rule holds at each moment.
func TestEveryRunEndsAndKeepsTheRules(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		g, now := random(r), time.Unix(0, 0)
		began := map[string]int{}
		for turn := 0; ; turn++ {
			if turn > 1000 {
				t.Fatalf("seed %d does not end", seed)
			}
			for _, n := range g.Doomed() {
				set(t, g, n, Cancelled)
			}
			if n, end := g.Done(); n != nil {
				set(t, g, n, end)
				continue
			}
			if _, ended := g.End(); ended {
				break
			}
			list := g.Next(now, 1+r.IntN(4), func(*Node) bool { return true })
			for _, n := range list {
				began[n.Name]++
				set(t, g, n, Running)
				check(t, g, n)
			}
			if len(list) == 0 {
				now = turnOne(t, r, g, now)
			}
		}
		for _, n := range g.nodes {
			if !n.State.Final() || began[n.Name] == 0 && n.State.Passed() {
				t.Fatalf("seed %d: %s ended as %s, began %d times", seed, n.Name, n.State, began[n.Name])
			}
		}
	}
}

// turnOne ends or parks a step that runs, or lets the time of a parked one come.
func turnOne(t *testing.T, r *rand.Rand, g *Graph, now time.Time) time.Time {
	t.Helper()
	var active []*Node
	for _, n := range g.nodes {
		if n.State == Running && !n.Group {
			active = append(active, n)
		}
	}
	if len(active) == 0 {
		at, parked := g.Wake()
		if !parked {
			t.Fatal("nothing runs, and nothing will")
		}
		return at
	}
	n := active[r.IntN(len(active))]
	to := []State{Succeeded, Succeeded, Succeeded, Parked, Failed}[r.IntN(5)]
	if to == Failed && r.IntN(4) > 0 {
		to = Succeeded
	}
	set(t, g, n, to)
	n.Until = now.Add(time.Duration(r.IntN(3)) * time.Second)
	return now
}

func set(t *testing.T, g *Graph, n *Node, to State) {
	t.Helper()
	if err := g.Set(n, to); err != nil {
		t.Fatal(err)
	}
}

// check looks at a step that just began.
func check(t *testing.T, g *Graph, n *Node) {
	t.Helper()
	for _, need := range n.Needs {
		if !g.byName[need].State.Passed() {
			t.Fatalf("%s began before %s had passed", n.Name, need)
		}
	}
	p := g.byName[n.Parent]
	if p == nil {
		return
	}
	active := 0
	for _, c := range g.Children(p.Name) {
		if c.State == Running || c.State == Parked {
			active++
		}
	}
	if p.State != Running || p.AtOnce > 0 && active > p.AtOnce {
		t.Fatalf("%s began while %s is %s with %d of %d active", n.Name, p.Name, p.State, active, p.AtOnce)
	}
}
