package gitrepo

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Change is what a commit does to one file. A file that exists keeps its executable bit; a new one has none.
type Change struct {
	Path    string
	Content []byte
	// Delete removes the file; one that is not there is no error. Directories go with their last file.
	Delete bool
}

// CommitMeta is who commits what and when. Angle brackets and line breaks in names and addresses are left out.
type CommitMeta struct {
	Author, Committer Person
	Message           string
	// When is the time of the commit, in seconds and with its zone. The same input gives the same hash.
	When time.Time
	// Empty makes a commit also if it changes nothing: the branch moves.
	Empty bool
}

// Commit makes a commit in the mirror that changes files of its parent; a parent of "" is a first commit. Nothing is
// pushed. If the files are already as the changes want them, changed is false and the hash is the parent's, unless the meta
// asks for an empty commit.
func (m *Mirror) Commit(ctx context.Context, parent Hash, changes []Change, meta CommitMeta) (h Hash, changed bool, err error) {
	unlock, err := m.lock(ctx)
	if err != nil {
		return "", false, fmt.Errorf("commit: %w", err)
	}
	defer unlock()
	var before commitObject
	if parent != "" {
		if before, err = m.commitObject(parent); err != nil {
			return "", false, fmt.Errorf("commit: %w", err)
		}
	}
	b := newBuilder(m.store)
	list, err := splitChanges(changes)
	if err != nil {
		return "", false, fmt.Errorf("commit: %w", err)
	}
	root, err := b.edit(before.tree, "", list)
	if err != nil {
		return "", false, fmt.Errorf("commit: %w", err)
	}
	if root == (oid{}) && parent != "" {
		root = b.put(object{kind: kindTree})
	}
	if root == before.tree && !meta.Empty {
		return parent, false, nil
	}
	id := b.put(object{kindCommit, encodeCommit(root, parent, meta)})
	if err := m.keep(ctx, b); err != nil {
		return "", false, fmt.Errorf("commit: %w", err)
	}
	return id.hash(), true, nil
}

// encodeCommit writes a commit as Git stores it.
func encodeCommit(tree oid, parent Hash, meta CommitMeta) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree.hash())
	if parent != "" {
		fmt.Fprintf(&b, "parent %s\n", parent)
	}
	when := fmt.Sprintf("%d %s", meta.When.Unix(), meta.When.Format("-0700"))
	fmt.Fprintf(&b, "author %s %s\n", meta.Author.line(), when)
	fmt.Fprintf(&b, "committer %s %s\n\n", meta.Committer.line(), when)
	fmt.Fprintf(&b, "%s\n", strings.TrimRight(strings.ReplaceAll(meta.Message, "\x00", ""), "\n"))
	return b.Bytes()
}

func (p Person) line() string {
	clean := func(s string) string {
		return strings.TrimSpace(strings.Map(func(r rune) rune {
			if strings.ContainsRune("<>\n\r\x00", r) {
				return -1
			}
			return r
		}, s))
	}
	return fmt.Sprintf("%s <%s>", clean(p.Name), clean(p.Email))
}

// builder makes objects on top of others. It is what it builds on, too.
type builder struct {
	objects
	made map[oid]object
	// order is that of making, so that packs are the same for the same input.
	order []oid
}

func newBuilder(on objects) *builder { return &builder{objects: on, made: map[oid]object{}} }

func (b *builder) get(id oid, limit int64) (object, error) {
	o, ok := b.made[id]
	switch {
	case !ok:
		return b.objects.get(id, limit)
	case int64(len(o.data)) > limit:
		return object{}, &sizeError{int64(len(o.data))}
	default:
		return o, nil
	}
}

func (b *builder) put(o object) oid {
	id := o.id()
	if _, ok := b.made[id]; !ok {
		b.made[id] = o
		b.order = append(b.order, id)
	}
	return id
}

// putTree makes a tree; one without entries is no object, as Git has no empty directories.
func (b *builder) putTree(list []treeEntry) oid {
	if len(list) == 0 {
		return oid{}
	}
	slices.SortFunc(list, func(a, b treeEntry) int { return strings.Compare(a.key(), b.key()) })
	var data []byte
	for _, e := range list {
		data = fmt.Appendf(data, "%o %s\x00", e.mode, e.name)
		data = append(data, e.id[:]...)
	}
	return b.put(object{kindTree, data})
}

// splitChange is a change with its path in parts.
type splitChange struct {
	Change
	parts []string
}

// splitChanges checks paths and sorts changes; two for one path contradict each other.
func splitChanges(changes []Change) ([]splitChange, error) {
	var out []splitChange
	for _, c := range changes {
		parts, err := split(c.Path)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(parts, func(p string) bool { return strings.EqualFold(p, ".git") }) {
			return nil, fault.New(fault.PathInvalid, "%.120q is not a path in a repository", c.Path)
		}
		out = append(out, splitChange{c, parts})
	}
	slices.SortFunc(out, func(a, b splitChange) int { return cmp.Compare(a.Path, b.Path) })
	for i := 1; i < len(out); i++ {
		if out[i].Path == out[i-1].Path {
			return nil, fault.New(fault.PathInvalid, "%s is changed twice in one commit", out[i].Path)
		}
	}
	return out, nil
}

// edit applies changes below a directory and returns its new tree; the zero id is no tree.
func (b *builder) edit(id oid, at string, changes []splitChange) (oid, error) {
	var list []treeEntry
	if id != (oid{}) {
		var err error
		if list, err = entries(b, id, at); err != nil {
			return oid{}, err
		}
	}
	list = slices.Clone(list)
	groups := map[string][]splitChange{}
	var names []string
	for _, c := range changes {
		name := c.parts[0]
		if groups[name] == nil {
			names = append(names, name)
		}
		groups[name] = append(groups[name], c)
	}
	for _, name := range names {
		i := slices.IndexFunc(list, func(e treeEntry) bool { return e.name == name })
		var before *treeEntry
		if i >= 0 {
			before = &list[i]
		}
		after, err := b.editEntry(before, join(at, name), groups[name])
		switch {
		case err != nil:
			return oid{}, err
		case i >= 0 && after.id == (oid{}):
			list = slices.Delete(list, i, i+1)
		case i >= 0:
			list[i] = after
		case after.id != (oid{}):
			list = append(list, after)
		}
	}
	return b.putTree(list), nil
}

// editEntry applies the changes at or below one name.
func (b *builder) editEntry(before *treeEntry, at string, changes []splitChange) (treeEntry, error) {
	place := fault.Place{File: at}
	c := changes[0]
	e := treeEntry{name: c.parts[0], mode: modeFile}
	if len(c.parts) == 1 {
		if len(changes) > 1 {
			return e, fault.New(fault.PathInvalid, "%s would be a file and a directory", at).At(place)
		}
		if before != nil {
			if err := notAFile(*before, at); err != nil {
				return e, err
			}
			e.mode = before.mode
		}
		if !c.Delete {
			e.id = b.put(object{kindBlob, c.Content})
		}
		return e, nil
	}
	e.mode = modeTree
	var below oid
	if before != nil {
		switch {
		case before.isTree():
			below = before.id
		case before.isFile() && !slices.ContainsFunc(changes, func(c splitChange) bool { return !c.Delete }):
			return *before, nil // what shall go below a file is not there
		case before.isFile():
			return e, fault.New(fault.PathInvalid, "%s is a file and not a directory", at).At(place)
		default:
			return e, notAFile(*before, at)
		}
	}
	rest := make([]splitChange, len(changes))
	for i, c := range changes {
		rest[i] = splitChange{c.Change, c.parts[1:]}
	}
	var err error
	e.id, err = b.edit(below, at, rest)
	return e, err
}

// keep writes the objects that were made into the mirror, as one pack.
func (m *Mirror) keep(ctx context.Context, b *builder) error {
	var list []object
	for _, id := range b.order {
		if !m.store.has(id) {
			list = append(list, b.made[id])
		}
	}
	if len(list) == 0 {
		return nil
	}
	f, err := m.store.temporary()
	if err != nil {
		return err
	}
	defer f.Close()
	defer func() { _ = os.Remove(f.Name()) }() // it has another name if it was taken
	if err := writePack(f, list); err != nil {
		return err
	}
	if err := m.store.add(ctx, f, false); err != nil {
		return err
	}
	return m.tidy(ctx)
}

// writePack writes objects as a pack without deltas.
func writePack(f *os.File, list []object) error {
	w := newSumWriter(f)
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(list)))
	_, err := w.Write(head)
	z := zlib.NewWriter(w)
	for _, o := range list {
		_, e := w.Write(entryHeader(o.kind, len(o.data)))
		z.Reset(w)
		_, e2 := z.Write(o.data)
		err = errors.Join(err, e, e2, z.Close())
		if err != nil {
			return unwritable(err)
		}
	}
	sum := w.sum()
	if _, e := f.Write(sum[:]); err != nil || e != nil {
		return unwritable(errors.Join(err, e))
	}
	return nil
}

// entryHeader writes type and size as packs have them: four bits of the size, then seven per byte.
func entryHeader(k kind, size int) []byte {
	out := []byte{byte(k)<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		out[len(out)-1] |= 0x80
		out = append(out, byte(size&0x7f))
	}
	return out
}
