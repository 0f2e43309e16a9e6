package document

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Text is a document's text, to say where in it a value stands that is wrong for another reason than its shape.
type Text struct {
	name string
	text []byte
	// root is nil if there is nothing that can be read.
	root *yaml.Node
}

// Read reads a text of a file. One that is no YAML has no places but the file itself.
func Read(file string, data []byte) Text {
	var node yaml.Node
	t := Text{name: file, text: data}
	if yaml.Unmarshal(data, &node) == nil && len(node.Content) == 1 {
		t.root = node.Content[0]
	}
	return t
}

// Find returns the place of the value at a path of keys and indices. If there is none, it is the place of what is nearest
// above.
func (t Text) Find(path ...string) (at fault.Place, found bool) {
	node := t.root
	if node == nil {
		return fault.Place{File: t.name}, false
	}
	for _, step := range path {
		next := below(node, step)
		if next == nil {
			return t.place(node), false
		}
		node = next
	}
	return t.place(node), node.ShortTag() != "!!null"
}

// Tell returns a fault at the place of a path, with its source line.
func (t Text) Tell(f *fault.Fault, path ...string) *fault.Fault {
	at, _ := t.Find(path...)
	return f.At(at).Show(t.text)
}

// Node returns what stands at a path, or nil.
func (t Text) Node(path ...string) *yaml.Node {
	node := t.root
	for _, step := range path {
		if node != nil {
			node = below(node, step)
		}
	}
	return node
}

// below returns what a map or a list has at a step, or nil.
func below(node *yaml.Node, step string) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(step); err == nil && i < len(node.Content) {
			return node.Content[i]
		}
		return nil
	}
	for i := 0; i+1 < len(node.Content) && node.Kind == yaml.MappingNode; i += 2 {
		if node.Content[i].Value == step {
			return node.Content[i+1]
		}
	}
	return nil
}

// place turns a node's column in characters into one in bytes.
func (t Text) place(node *yaml.Node) fault.Place {
	text := t.text
	for range node.Line - 1 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	at := 0
	for i := 1; i < node.Column && at < len(text); i++ {
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	return fault.Place{File: t.name, Line: node.Line, Column: at + 1}
}
