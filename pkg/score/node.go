package score

import (
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Kind says what a [Node] is.
type Kind uint8

// The kinds of values that YAML and JSON share.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	List
	Map
)

// String returns the kind's name in messages to people.
func (k Kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a number", "a string", "a list", "a map"}[k]
}

// Node is a value with the place it was written at. Nodes are never changed after they were made, and those that come
// from YAML aliases are shared.
type Node struct {
	Kind Kind
	// Text is the value of a scalar: a string as it is, a boolean as true or false, a number as JSON writes it (0x10
	// is 16, 1_000 is 1000), null as "".
	Text string
	// Entries are a map's keys and values in the order of the file; keys are unique.
	Entries []Entry
	// Items are a list's values.
	Items []*Node
	// Place is where the value begins: its first character, the quote of a quoted string, the | or > of a block.
	Place fault.Place
}

// Entry is one key of a map with its value.
type Entry struct {
	Key   string
	Place fault.Place // of the key
	Value *Node
}

// Get returns the value of a key of a map, or nil. It may be called on nil.
func (n *Node) Get(key string) *Node {
	if e := n.entry(key); e != nil {
		return e.Value
	}
	return nil
}

func (n *Node) entry(key string) *Entry {
	if n == nil || n.Kind != Map {
		return nil
	}
	for i := range n.Entries {
		if n.Entries[i].Key == key {
			return &n.Entries[i]
		}
	}
	return nil
}

// Lookup returns the value at a path of map keys, or nil.
func (n *Node) Lookup(path ...string) *Node {
	for _, key := range path {
		n = n.Get(key)
	}
	return n
}

// Value returns what a placeholder that points at the node becomes: a string as it is, anything else as compact JSON.
func (n *Node) Value() string {
	if n.Kind == String {
		return n.Text
	}
	return string(n.Canonical())
}

// keys returns the keys of a map in order.
func (n *Node) keys() []string {
	if n == nil {
		return nil
	}
	out := make([]string, len(n.Entries))
	for i, e := range n.Entries {
		out[i] = e.Key
	}
	slices.Sort(out)
	return out
}

// sorted returns the entries of a map ordered by key; nil for anything else.
func (n *Node) sorted() []Entry {
	if n == nil || len(n.Entries) == 0 {
		return nil
	}
	byKey := func(a, b Entry) int { return strings.Compare(a.Key, b.Key) }
	if slices.IsSortedFunc(n.Entries, byKey) {
		return n.Entries
	}
	out := slices.Clone(n.Entries)
	slices.SortFunc(out, byKey)
	return out
}

// text returns a string's value, or "" when the node is absent or something else.
func (n *Node) text() string {
	if n == nil || n.Kind != String {
		return ""
	}
	return n.Text
}

// place returns where the node is, nowhere when it is absent.
func (n *Node) place() fault.Place {
	if n == nil {
		return fault.Place{}
	}
	return n.Place
}

// isScalar says whether the node is neither a map nor a list.
func (n *Node) isScalar() bool { return n.Kind < List }
