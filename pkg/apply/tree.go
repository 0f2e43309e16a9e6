package apply

import (
	"context"
	"fmt"
	"strings"

	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
)

// node is a step of a run with what it does.
type node struct {
	*graph.Node
	row *Step
	// step is nil for a step of a release.
	step *golden.Step
	// scope is where the step stands: what its expressions know.
	scope *scope
	// opens is the scope of the steps below it, if it uses a path.
	opens *scope
	// item is what it runs for, if it is one of a for_each.
	item *golden.Item
	// outputs are what it gave.
	outputs map[string]any
	// values are what its expressions know while it is at work.
	values golden.Values
	// do is nil for a group.
	do func(ctx context.Context, n *node) (result, error)
}

// scope is a golden path at work: of the run, or of a step that uses it.
type scope struct {
	path *golden.Path
	// owner is the step that uses the path, nil for that of the run.
	owner  *node
	params map[string]any
}

// result is what a step's attempt came to.
type result struct {
	// detail says it in a few words.
	detail  string
	outputs map[string]any
	// park puts the step off, when it is not done yet.
	park *parking
}

// tree holds the steps of a run.
type tree struct {
	paths golden.Set
	about golden.Values
	root  *scope
	graph *graph.Graph
	nodes map[string]*node
	// steps are those of a release.
	steps []step
	actor func(s *golden.Step) func(context.Context, *node) (result, error)
}

// plant makes the tree of a run that is not stored yet: the steps that belong to no other.
func (t *tree) plant() ([]*node, error) {
	if t.root == nil {
		return t.addRelease(nil)
	}
	return t.addSteps(t.root)
}

// addRelease adds the steps of the release below a node, nil for the run's own.
func (t *tree) addRelease(below *node) ([]*node, error) {
	prefix, parent := "", ""
	if below != nil {
		prefix, parent = below.Name+"/", below.Name
	}
	list := make([]*node, 0, len(t.steps))
	for _, s := range t.steps {
		var needs []string
		for _, need := range s.needs {
			needs = append(needs, prefix+need)
		}
		n, err := t.add(Step{Name: prefix + s.name, Parent: parent, Needs: needs, State: graph.Waiting})
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// addSteps adds the steps of a path.
func (t *tree) addSteps(in *scope) ([]*node, error) {
	prefix, parent := "", ""
	if in.owner != nil {
		prefix, parent = in.owner.Name+"/", in.owner.Name
	}
	list := make([]*node, 0, len(in.path.Steps))
	for _, s := range in.path.Steps {
		var needs []string
		for _, need := range s.Needs {
			needs = append(needs, prefix+need)
		}
		n, err := t.add(Step{Name: prefix + s.ID, Parent: parent, ID: s.ID, Needs: needs, State: graph.Waiting})
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// addItems adds what a step with for_each runs for.
func (t *tree) addItems(below *node, items []golden.Item) ([]*node, error) {
	list := make([]*node, 0, len(items))
	for i, item := range items {
		n, err := t.add(Step{Name: fmt.Sprintf("%s[%d]", below.Name, i), Parent: below.Name, ID: below.row.ID, State: graph.Waiting, item: &item})
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// nodeLimit is the number of steps of one run, those of every for_each and path counted: their rows are read as a whole.
const nodeLimit = 10_000

// add adds a step as its row says. Rows come in the order of their making: a parent before what belongs to it.
func (t *tree) add(row Step) (*node, error) {
	if t.graph.Len() >= nodeLimit {
		return nil, tooLarge()
	}
	if row.Position == 0 {
		row.Position = t.graph.Len()
	}
	n := &node{Node: &graph.Node{Name: row.Name, Parent: row.Parent, Needs: row.Needs, State: row.State}, row: &row, item: row.item, outputs: row.outputs}
	if row.Until != nil {
		n.Until = *row.Until
	}
	parent := t.nodes[row.Parent]
	if err := t.means(n, parent); err != nil {
		return nil, err
	}
	if err := t.graph.Add(n.Node); err != nil {
		return nil, err
	}
	t.nodes[n.Name] = n
	return n, nil
}

// means finds out what a node does: by its place in a path, or by its name for a step of a release.
func (t *tree) means(n, parent *node) error {
	switch {
	case n.row.ID == "":
		name := n.Name
		if parent != nil {
			name = strings.TrimPrefix(name, parent.Name+"/")
		}
		for _, s := range t.steps {
			if s.name == name {
				n.do = func(ctx context.Context, n *node) (result, error) { return s.do(ctx, n.Name) }
				return nil
			}
		}
		return fmt.Errorf("step %q is none of the release's", n.Name)
	case n.item != nil:
		n.step, n.scope = parent.step, parent.scope
	case parent == nil:
		n.scope = t.root
	default:
		n.scope = parent.opens
	}
	if n.scope == nil {
		return fmt.Errorf("step %q stands in no path", n.Name)
	}
	if n.step == nil {
		n.step = n.scope.path.Step(n.row.ID)
	}
	if n.step == nil {
		return fmt.Errorf("path %s has no step %q", n.scope.path.Name, n.row.ID)
	}
	n.Group = n.step.Uses != "" || n.fans()
	if n.fans() {
		n.AtOnce = n.step.Concurrency
	}
	if used := t.paths[n.step.Uses]; used != nil && !n.fans() {
		n.opens = &scope{path: used, owner: n}
	}
	if !n.Group {
		n.do = t.actor(n.step)
	}
	return nil
}

// open finds out what beginning a step of a path needs no work for: it is skipped, or other steps stand for it, which are
// added. to is "" if it is to be put to work.
func (t *tree) open(n *node) (to graph.State, added []*node, err error) {
	if n.values, err = t.values(n); err != nil {
		return "", nil, err
	}
	if n.item == nil {
		skip, err := n.step.Skips(n.values)
		if err != nil {
			return "", nil, err
		}
		if skip {
			n.row.Detail = "not needed: " + n.step.When
			return graph.Skipped, nil, nil
		}
	}
	switch {
	case n.fans():
		items, err := n.step.Items(n.values)
		if err != nil {
			return "", nil, err
		}
		n.row.Detail = fmt.Sprintf("%d items", len(items))
		added, err = t.addItems(n, items)
		return graph.Running, added, err
	case n.step.IsRelease():
		added, err = t.addRelease(n)
		return graph.Running, added, err
	case n.opens != nil:
		if _, err = t.params(n.opens); err == nil {
			added, err = t.addSteps(n.opens)
		}
		return graph.Running, added, err
	default:
		return "", nil, nil
	}
}

// fans says that a step runs once for each item of something, and is not one of them.
func (n *node) fans() bool { return n.step != nil && n.step.ForEach != "" && n.item == nil }

// values are what a node's expressions know.
func (t *tree) values(n *node) (golden.Values, error) {
	params, err := t.params(n.scope)
	if err != nil {
		return nil, err
	}
	v := t.about.With("params.", params)
	owner := ""
	if n.scope.owner != nil {
		owner = n.scope.owner.Name
	}
	if v, err = t.siblings(owner, v); err != nil {
		return nil, err
	}
	if n.item != nil {
		v = v.With("each.", n.item.Each())
	}
	return v, nil
}

// siblings adds the outputs of the steps of a scope that have passed.
func (t *tree) siblings(owner string, v golden.Values) (golden.Values, error) {
	for _, g := range t.graph.Children(owner) {
		n := t.nodes[g.Name]
		if !g.State.Passed() || n.step == nil {
			continue
		}
		var given []map[string]any
		switch {
		case g.State == graph.Skipped:
		case n.fans():
			for _, item := range t.graph.Children(n.Name) {
				given = append(given, t.nodes[item.Name].outputs)
			}
		default:
			given = append(given, n.outputs)
		}
		more, err := t.paths.Done(n.step, given...)
		if err != nil {
			return nil, err
		}
		v = v.With("", more)
	}
	return v, nil
}

// params are what a scope was given.
func (t *tree) params(s *scope) (map[string]any, error) {
	if s.owner == nil || s.params != nil {
		return s.params, nil
	}
	v, err := t.values(s.owner)
	if err == nil {
		s.params, err = s.owner.step.Parameters(s.path, v)
	}
	return s.params, err
}

// gives returns the outputs of a group that ended well.
func (t *tree) gives(n *node) (map[string]any, error) {
	switch {
	case n.fans():
		return nil, nil
	case n.step.IsRelease():
		writes := int64(0)
		for _, s := range t.graph.Children(n.Name) {
			if w, ok := t.nodes[s.Name].outputs["writes"].(int64); ok {
				writes += w
			}
		}
		return map[string]any{"writes": writes}, nil
	}
	params, err := t.params(n.opens)
	if err != nil {
		return nil, err
	}
	v, err := t.siblings(n.Name, t.about.With("params.", params))
	if err != nil {
		return nil, err
	}
	return n.opens.path.Results(v)
}

// tooLarge says that a run has too many steps.
func tooLarge() error {
	return fault.New(fault.PathValue, "the run would have more than %d steps", nodeLimit)
}

// ordered returns all steps, each behind those that it needs and what belongs to these.
func (t *tree) ordered() []*node {
	list, seen := make([]*node, 0, len(t.nodes)), make(map[string]bool, len(t.nodes))
	var visit func(name string)
	visit = func(name string) {
		if n := t.nodes[name]; n != nil && !seen[name] {
			seen[name] = true
			for _, need := range n.Needs {
				visit(need)
			}
			list = append(list, n)
			for _, child := range t.graph.Children(name) {
				visit(child.Name)
			}
		}
	}
	for _, top := range t.graph.Children("") {
		visit(top.Name)
	}
	return list
}

// needed notes for whom the steps are that one needs, and that those need which it belongs to.
func (t *tree) needed(n, whom *node, by map[string]*node) {
	for ; n != nil; n = t.nodes[n.Parent] {
		for _, need := range n.Needs {
			if other := t.nodes[need]; other != nil && by[need] == nil {
				by[need] = whom
				t.needed(other, whom, by)
			}
		}
	}
}

// within returns what was noted of a step, or of one that it belongs to.
func (t *tree) within(n *node, by map[string]*node) *node {
	for ; n != nil; n = t.nodes[n.Parent] {
		if whom := by[n.Name]; whom != nil {
			return whom
		}
	}
	return nil
}
