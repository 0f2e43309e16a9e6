package gitrepo

import (
	"errors"
	"maps"
	"path"
	"slices"
)

// dispute is a file that one side deleted and the other changed.
type dispute struct {
	path string
	base treeEntry
	// left is what the other side made of it.
	left treeEntry
	// by is the side that deleted it: 0 is ours, 1 is theirs.
	by int
}

// side is what one side did to the base: files that are gone, and where they were moved to as they were.
type side struct {
	gone  map[string]treeEntry
	moved map[string]string
	root  oid
}

// followRenames settles what moved files mean. What one side changed goes to where the other moved it; a file that was
// moved here and deleted or moved elsewhere there conflicts. A file that was moved and changed at once counts as new,
// because files of one kind resemble each other too much to guess.
func (g *merger) followRenames(root, base, ours, theirs oid) (oid, error) {
	var sides [2]side
	for i, id := range []oid{ours, theirs} {
		var err error
		if sides[i], err = g.side(base, id); err != nil {
			return oid{}, err
		}
	}
	g.crossed(sides)
	var changes []Change
	taken := map[string]bool{}
	for _, d := range g.disputes {
		to, moved := sides[d.by].moved[d.path]
		if !moved || taken[to] || d.left.mode != d.base.mode {
			continue
		}
		_, there, err := (&Tree{from: g.builder, root: sides[1-d.by].root}).find(to)
		if err != nil {
			return oid{}, err
		}
		o, err := g.get(d.left.id, g.limit)
		if there || errors.Is(err, errBig) || err != nil && g.leftOut() {
			continue
		}
		if err != nil {
			return oid{}, err
		}
		taken[to] = true
		changes = append(changes, Change{Path: to, Content: o.data}, Change{Path: d.path, Delete: true})
		g.conflicts = slices.DeleteFunc(g.conflicts, func(p string) bool { return p == d.path })
	}
	list, err := splitChanges(changes)
	if err != nil {
		return oid{}, err
	}
	return g.edit(root, "", list)
}

// crossed finds files that are gone on both sides, and not in the same way.
func (g *merger) crossed(sides [2]side) {
	for i, s := range sides {
		other := sides[1-i]
		for from, to := range s.moved {
			if _, gone := other.gone[from]; !gone {
				continue
			}
			if there, moved := other.moved[from]; !moved || there != to {
				g.conflicts = append(g.conflicts, to)
			}
		}
	}
}

// side compares a side with the base.
func (g *merger) side(base, id oid) (side, error) {
	s := side{gone: map[string]treeEntry{}, moved: map[string]string{}, root: id}
	if err := g.added("", id, base, func(e treeEntry, at string) { s.gone[at] = e }); err != nil {
		return s, err
	}
	came := map[oid][]string{}
	if err := g.added("", base, id, func(e treeEntry, at string) { came[e.id] = append(came[e.id], at) }); err != nil {
		return s, err
	}
	for _, from := range slices.Sorted(maps.Keys(s.gone)) {
		if to, ok := newPlace(from, came[s.gone[from].id]); ok {
			s.moved[from] = to
		}
	}
	return s, nil
}

// newPlace finds where a file was moved to: the only candidate, or the only one of the same name.
func newPlace(from string, candidates []string) (to string, ok bool) {
	if len(candidates) > 1 {
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(c string) bool { return path.Base(c) != path.Base(from) })
	}
	if len(candidates) != 1 {
		return "", false
	}
	return candidates[0], true
}

// added calls found for each file that a tree has and another one has not.
func (g *merger) added(at string, before, after oid, found func(e treeEntry, at string)) error {
	if before == after || after == (oid{}) {
		return nil
	}
	if err := g.cancelled(); err != nil {
		return err
	}
	old, err := g.list(before, at)
	if err != nil {
		return err
	}
	list, err := g.list(after, at)
	if err != nil {
		return err
	}
	was := map[string]treeEntry{}
	for _, e := range old {
		was[e.name] = e
	}
	for _, e := range list {
		had, known := was[e.name]
		switch {
		case e.isTree():
			below := oid{}
			if had.isTree() {
				below = had.id
			}
			if err := g.added(join(at, e.name), below, e.id, found); err != nil {
				return err
			}
		case e.isFile() && (!known || had.isTree()):
			found(e, join(at, e.name))
		}
	}
	return nil
}
