package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// The modes of tree entries.
const (
	modeFile       = 0o100644
	modeExecutable = 0o100755
	modeSymlink    = 0o120000
	modeSubmodule  = 0o160000
	modeTree       = 0o040000
	modeType       = 0o170000
)

const (
	// maxEntries is how many entries one walk through a tree reads: three times the largest public repositories.
	maxEntries = 1 << 20
	// maxDepth is how deep directories may be; Git's own tools end where a path has 4096 bytes.
	maxDepth = 256
	// maxPath is the longest path, in bytes.
	maxPath = 4096
)

// Tree is what one commit, or the merge of two, holds. It stays as it is when its mirror fetches on, and is safe for
// concurrent use.
type Tree struct {
	from  objects
	root  oid
	limit int64
}

// Tree returns the tree of a commit that was fetched.
func (m *Mirror) Tree(ctx context.Context, commit Hash) (*Tree, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := m.store.check(); err != nil {
		m.store.hurt()
		return nil, fault.New(fault.MirrorDamaged, "%w", err)
	}
	c, err := m.commitObject(commit)
	if err != nil {
		return nil, fmt.Errorf("tree of %s: %w", m.remote, err)
	}
	return &Tree{from: m.store, root: c.tree, limit: m.client.fileLimit()}, nil
}

// treeEntry is one line of a tree.
type treeEntry struct {
	mode uint32
	name string
	id   oid
}

func (e treeEntry) isTree() bool { return e.mode&modeType == modeTree }
func (e treeEntry) isFile() bool { return e.mode&modeType == modeFile&modeType }

// parseTree reads a tree: mode, space, name, zero byte, hash. Names that could lead anywhere else are refused.
func parseTree(data []byte) ([]treeEntry, error) {
	var out []treeEntry
	last := ""
	for len(data) > 0 {
		head, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, spaced := strings.Cut(string(head), " ")
		if !ok || !spaced || len(rest) < hashBytes {
			return nil, errors.New("it is cut")
		}
		e := treeEntry{name: name, id: oid(rest[:hashBytes])}
		for _, c := range []byte(mode) {
			if c < '0' || c > '7' || e.mode > modeType {
				return nil, fmt.Errorf("mode %.20q", mode)
			}
			e.mode = e.mode<<3 | uint32(c-'0')
		}
		switch e.mode & modeType {
		case modeFile & modeType, modeTree, modeSymlink, modeSubmodule:
		default:
			return nil, fmt.Errorf("mode %.20q", mode)
		}
		if name == "" || name == "." || name == ".." || strings.EqualFold(name, ".git") || strings.Contains(name, "/") {
			return nil, fmt.Errorf("an entry named %.60q", name)
		}
		key := e.key()
		if key <= last {
			return nil, fmt.Errorf("entry %.60q is out of order", name)
		}
		last = key
		out = append(out, e)
		data = rest[hashBytes:]
	}
	return out, nil
}

// key is what entries are ordered by: directories as if their name ended with a slash.
func (e treeEntry) key() string {
	if e.isTree() {
		return e.name + "/"
	}
	return e.name
}

// entries reads a directory. at is its path, for faults.
func entries(from objects, id oid, at string) ([]treeEntry, error) {
	o, err := mustGet(from, id, kindTree)
	if err == nil {
		var out []treeEntry
		if out, err = parseTree(o.data); err == nil {
			return out, nil
		}
		err = fault.New(fault.TreeInvalid, "the directory is malformed: %w", err)
	}
	if f, ok := fault.As(err); ok {
		return nil, f.At(fault.Place{File: at})
	}
	return nil, err
}

// Paths returns the paths that match, sorted: those of regular files, and those where a symlink or a submodule stands,
// which [Tree.Read] refuses at their place. Anything that cannot be read is an error: what is not in the answer is not
// in the tree.
func (t *Tree) Paths(match func(path string) bool) ([]string, error) {
	w := walker{from: t.from, match: match}
	if err := w.walk(t.root, "", 0); err != nil {
		return nil, fmt.Errorf("walk tree: %w", err)
	}
	slices.Sort(w.found)
	return w.found, nil
}

type walker struct {
	from  objects
	match func(string) bool
	found []string
	seen  int
}

func (w *walker) walk(id oid, at string, depth int) error {
	list, err := entries(w.from, id, at)
	if err != nil {
		return err
	}
	if w.seen += len(list); w.seen > maxEntries {
		return fault.New(fault.TreeInvalid, "the tree has more than %d entries", maxEntries)
	}
	for _, e := range list {
		path := join(at, e.name)
		if len(path) > maxPath || depth > maxDepth {
			return fault.New(fault.TreeInvalid, "the tree is deeper than %d directories or %d bytes", maxDepth, maxPath).At(fault.Place{File: at})
		}
		if e.isTree() {
			if err := w.walk(e.id, path, depth+1); err != nil {
				return err
			}
		} else if w.match(path) {
			w.found = append(w.found, path)
		}
	}
	return nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Read returns the content of a regular file. found is false only if there is provably nothing at the path. A symlink, a
// submodule or a directory there, a symlink or submodule on the way, and a file beyond the limit are permanent faults.
func (t *Tree) Read(path string) (content []byte, found bool, err error) {
	e, found, err := t.find(path)
	if err != nil || !found {
		return nil, false, err
	}
	place := fault.Place{File: path}
	if err := notAFile(e, path); err != nil {
		return nil, false, err
	}
	o, err := t.from.get(e.id, t.limit)
	if size, ok := errors.AsType[*sizeError](err); ok {
		return nil, false, fault.New(fault.FileTooLarge, "the file has %d bytes, the limit is %d", size.size, t.limit).At(place)
	}
	if errors.Is(err, errBig) || errors.Is(err, errMissing) && t.from.leftOut() {
		return nil, false, fault.New(fault.FileTooLarge, "the file has more than %d bytes", t.limit).At(place)
	}
	if err == nil && o.kind != kindBlob {
		err = fmt.Errorf("it is a %s", o.kind)
	}
	if err != nil {
		t.from.hurt()
		return nil, false, fault.New(fault.MirrorDamaged, "blob %s cannot be read: %w", e.id.hash(), err).At(place)
	}
	return o.data, true, nil
}

func notAFile(e treeEntry, path string) error {
	place := fault.Place{File: path}
	switch e.mode & modeType {
	case modeSymlink:
		return fault.New(fault.FileIsSymlink, "%s is a symlink", path).At(place)
	case modeSubmodule:
		return fault.New(fault.FileIsSubmodule, "%s is a submodule", path).At(place)
	case modeTree:
		return fault.New(fault.FileIsDirectory, "%s is a directory", path).At(place)
	}
	return nil
}

// find walks down to a path.
func (t *Tree) find(path string) (treeEntry, bool, error) {
	parts, err := split(path)
	if err != nil {
		return treeEntry{}, false, err
	}
	id, at := t.root, ""
	for i, name := range parts {
		list, err := entries(t.from, id, at)
		if err != nil {
			return treeEntry{}, false, err
		}
		at = join(at, name)
		n := slices.IndexFunc(list, func(e treeEntry) bool { return e.name == name })
		if n < 0 {
			return treeEntry{}, false, nil
		}
		e := list[n]
		switch {
		case i == len(parts)-1:
			return e, true, nil
		case e.isTree():
			id = e.id
		case e.isFile():
			return treeEntry{}, false, nil
		default:
			return treeEntry{}, false, notAFile(e, at)
		}
	}
	return treeEntry{}, false, nil
}

// split refuses paths that cannot be in a tree.
func split(path string) ([]string, error) {
	parts := strings.Split(path, "/")
	bad := len(path) > maxPath || len(parts) > maxDepth || strings.Contains(path, "\x00")
	for _, p := range parts {
		bad = bad || p == "" || p == "." || p == ".."
	}
	if bad {
		return nil, fault.New(fault.PathInvalid, "%.120q is not a path in a repository", path)
	}
	return parts, nil
}
