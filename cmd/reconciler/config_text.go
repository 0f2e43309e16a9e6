package main

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/innominatus/reconciler/pkg/fault"
)

// configText is the text of the configuration file, to say where in it a value stands.
type configText struct {
	name string
	text []byte
	// root is nil if there is no file, or nothing that can be read in it.
	root *yaml.Node
}

func readConfigText(name string, text []byte) configText {
	var node yaml.Node
	t := configText{name: name, text: text}
	if yaml.Unmarshal(text, &node) == nil && len(node.Content) == 1 {
		t.root = node.Content[0]
	}
	return t
}

// find returns the place of the value at a path of keys and indices. If there is none, it is the place of what is nearest
// above.
func (t configText) find(path []string) (at fault.Place, found bool) {
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

// hide takes the source line from faults where a secret stands on it: itself, in place of the file or variable that holds
// it.
func (t configText) hide(faults fault.List) {
	secrets := []keys{{"database", "url"}}
	if node := t.at(keys{"forges"}); node != nil && node.Kind == yaml.MappingNode {
		for i := 0; i < len(node.Content); i += 2 {
			forge := keys{"forges", node.Content[i].Value}
			secrets = append(secrets, forge.below("token"), forge.below("webhookSecret"))
		}
	}
	for _, path := range secrets {
		node := t.at(path)
		if node == nil || node.Kind != yaml.ScalarNode {
			continue
		}
		for _, f := range faults {
			if f.Place.Line == node.Line {
				f.Excerpt, f.Caret = "", 0
			}
		}
	}
}

// at returns what stands at a path, or nil.
func (t configText) at(path keys) *yaml.Node {
	node := t.root
	for _, step := range path {
		if node != nil {
			node = below(node, step)
		}
	}
	return node
}

// place turns a node's column in characters into one in bytes.
func (t configText) place(node *yaml.Node) fault.Place {
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
