package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Merge returns what merging head into base gives, without making a commit, and the paths that conflict, sorted. At
// those the tree has what base has. A head that base has already gives base; a base that is in head's history gives head.
// Histories that share nothing are a fault: no forge merges them.
//
// Files that both sides changed are merged line by line. A file that one side moved and the other changed is followed to
// its new place if it was moved as it was; if it was also changed there, it conflicts, which at worst shows a conflict
// that the forge does not see.
func (m *Mirror) Merge(ctx context.Context, base, head Hash) (*Tree, []string, error) {
	if err := m.store.check(); err != nil {
		m.store.hurt()
		return nil, nil, fault.New(fault.MirrorDamaged, "%w", err)
	}
	ours, err := m.commitObject(base)
	if err != nil {
		return nil, nil, fmt.Errorf("merge into %s: %w", m.remote, err)
	}
	theirs, err := m.commitObject(head)
	if err != nil {
		return nil, nil, fmt.Errorf("merge into %s: %w", m.remote, err)
	}
	fork, ok, err := mergeBase(ctx, m.store, ours, theirs)
	if err != nil {
		return nil, nil, fmt.Errorf("find merge base: %w", err)
	}
	if !ok {
		return nil, nil, fault.New(fault.MergeConflict, "%s and %s have no history in common", base, head)
	}
	g := &merger{builder: newBuilder(m.store), cancelled: func() error { return context.Cause(ctx) }, limit: m.client.fileLimit()}
	root, err := g.trees("", fork.tree, ours.tree, theirs.tree)
	if err == nil {
		root, err = g.followRenames(root, fork.tree, ours.tree, theirs.tree)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("merge %s into %s: %w", head, base, err)
	}
	if root == (oid{}) {
		root = g.put(object{kind: kindTree})
	}
	slices.Sort(g.conflicts)
	return &Tree{from: g.builder, root: root, limit: g.limit}, slices.Compact(g.conflicts), nil
}

// merger merges trees. It lives as long as one merge.
type merger struct {
	*builder
	// cancelled returns why the merge has to stop, or nil.
	cancelled func() error
	limit     int64
	conflicts []string
	disputes  []dispute
}

// trees merges a directory three ways. The zero id is a directory that does not exist.
func (g *merger) trees(at string, base, ours, theirs oid) (oid, error) {
	switch {
	case ours == theirs || theirs == base:
		return ours, nil
	case ours == base:
		return theirs, nil
	}
	if err := g.cancelled(); err != nil {
		return oid{}, err
	}
	var sides [3]map[string]treeEntry
	var names []string
	for i, id := range []oid{base, ours, theirs} {
		list, err := g.list(id, at)
		if err != nil {
			return oid{}, err
		}
		sides[i] = map[string]treeEntry{}
		for _, e := range list {
			sides[i][e.name] = e
			names = append(names, e.name)
		}
	}
	slices.Sort(names)
	var out []treeEntry
	for _, name := range slices.Compact(names) {
		e, err := g.entry(join(at, name), sides[0][name], sides[1][name], sides[2][name])
		if err != nil {
			return oid{}, err
		}
		if e.id != (oid{}) {
			e.name = name
			out = append(out, e)
		}
	}
	return g.putTree(out), nil
}

func (g *merger) list(id oid, at string) ([]treeEntry, error) {
	if id == (oid{}) {
		return nil, nil
	}
	return entries(g.builder, id, at)
}

// entry merges what stands at one path. The zero entry is nothing.
func (g *merger) entry(at string, base, ours, theirs treeEntry) (treeEntry, error) {
	none := oid{}
	switch {
	case ours == theirs || theirs == base:
		return ours, nil
	case ours == base:
		return theirs, nil
	}
	directory := func(e treeEntry) bool { return e.id == none || e.isTree() }
	if directory(ours) && directory(theirs) {
		below := base
		if !base.isTree() {
			below = treeEntry{} // a file that both replaced by a directory
		}
		id, err := g.trees(at, below.id, ours.id, theirs.id)
		return treeEntry{mode: modeTree, id: id}, err
	}
	if base.isFile() && base.id != none {
		switch {
		case ours.id == none && theirs.isFile():
			g.disputes = append(g.disputes, dispute{at, base, theirs, 0})
		case theirs.id == none && ours.isFile():
			g.disputes = append(g.disputes, dispute{at, base, ours, 1})
		}
	}
	if !ours.isFile() || !theirs.isFile() || base.id == none || !base.isFile() {
		// One side deleted what the other changed, both added something, or they are of different kinds.
		return g.conflict(at, ours)
	}
	out := ours
	if ours.mode == base.mode {
		out.mode = theirs.mode
	}
	var err error
	switch {
	case ours.id == theirs.id || theirs.id == base.id:
	case ours.id == base.id:
		out.id = theirs.id
	default:
		var clean bool
		if out.id, clean, err = g.contents(base.id, ours.id, theirs.id); err == nil && !clean {
			return g.conflict(at, ours)
		}
	}
	return out, err
}

func (g *merger) conflict(at string, ours treeEntry) (treeEntry, error) {
	g.conflicts = append(g.conflicts, at)
	return ours, nil
}

// contents merges three files; clean is false if they conflict, or are too large or no text.
func (g *merger) contents(base, ours, theirs oid) (id oid, clean bool, err error) {
	var text [3][]byte
	for i, id := range []oid{base, ours, theirs} {
		o, err := g.get(id, g.limit)
		if errors.Is(err, errBig) || errors.Is(err, errMissing) && g.leftOut() {
			return oid{}, false, nil
		}
		if err != nil {
			g.hurt()
			return oid{}, false, fault.New(fault.MirrorDamaged, "blob %s cannot be read: %w", id.hash(), err)
		}
		if bytes.IndexByte(o.data[:min(len(o.data), binaryWithin)], 0) >= 0 {
			return oid{}, false, nil
		}
		text[i] = o.data
	}
	merged, clean := mergeLines(text[0], text[1], text[2])
	if !clean || int64(len(merged)) > maxObject {
		return oid{}, false, nil
	}
	return g.put(object{kindBlob, merged}), true, nil
}

// binaryWithin is how far Git looks for a zero byte, in bytes, to tell that a file is no text.
const binaryWithin = 8000
