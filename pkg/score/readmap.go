package score

import (
	"go.yaml.in/yaml/v4"

	"github.com/innominatus/reconciler/pkg/fault"
)

const quotedStyle = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// scalar sets kind and text.
func (b *builder) scalar(out *Node, n *yaml.Node) {
	if n.Style&yaml.TaggedStyle == 0 {
		out.Kind, out.Text = String, n.Value
		if n.Style&quotedStyle == 0 && n.Tag != "!" {
			out.Kind, out.Text = resolvePlain(n.Value)
		}
		return
	}
	kind, text := resolvePlain(n.Value)
	want, known := map[string]Kind{"!!null": Null, "!!bool": Bool, "!!int": Int, "!!float": Float, "!!str": String}[n.ShortTag()]
	switch {
	case !known:
		b.tagged(n, out.Place)
		out.Kind, out.Text = String, n.Value
	case want == String:
		out.Kind, out.Text = String, n.Value
	case want == kind, want == Float && kind == Int:
		out.Kind, out.Text = want, text
	default:
		out.Kind, out.Text = String, n.Value
		b.add(fault.New(fault.ScoreSyntax, "%q cannot be read as %s", clip(n.Value), n.ShortTag()).At(out.Place))
	}
}

// clip shortens a value for a message.
func clip(s string) string {
	const longest = 60 // bytes; a message is one line
	if len(s) <= longest {
		return s
	}
	for i := range s {
		if i >= longest {
			return s[:i] + "…"
		}
	}
	return s
}

// smallMap is up to how many keys are compared one by one; beyond that a hash table is quicker.
const smallMap = 16

// entries sets the entries of a map and returns the height of the highest value.
func (b *builder) entries(out *Node, n *yaml.Node, depth int) int {
	out.Entries = make([]Entry, 0, len(n.Content)/2)
	height := 0
	var merges []*yaml.Node
	seen := keySet{entries: &out.Entries}
	for i := 0; i+1 < len(n.Content) && !b.stopped; i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := b.src.place(k.Line, k.Column)
		if isMerge(k) {
			merges = append(merges, v)
			continue
		}
		key, ok := b.key(k, at)
		value, h := b.node(v, depth+1)
		height = max(height, h)
		if !ok {
			continue
		}
		if first := seen.find(key); first != nil {
			b.add(duplicate(key, at, first.Place))
			continue
		}
		seen.add(Entry{Key: key, Place: at, Value: value})
	}
	for _, m := range merges {
		height = max(height, b.merge(&seen, m, depth))
	}
	return height
}

// duplicate is the fault of a key that stands twice in a map.
func duplicate(key string, at, first fault.Place) *fault.Fault {
	return fault.New(fault.ScoreDuplicateKey, "the key %q stands here a second time; the first is in line %d", clip(key), first.Line).
		At(at)
}

func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && k.Style&(quotedStyle|yaml.TaggedStyle) == 0 ||
		k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge"
}

// key returns the text of a map's key. 1 and true are no strings, as little as null: the schema is one of JSON, and what
// text they would be as keys (1 or 0x1, true or True) is for nobody to guess. Score's own tools refuse them, too.
func (b *builder) key(k *yaml.Node, at fault.Place) (string, bool) {
	if k.Kind == yaml.AliasNode && k.Alias != nil {
		k = k.Alias
	}
	if k.Anchor != "" && k.Kind == yaml.ScalarNode {
		b.node(k, 1) // so that an alias finds it
	}
	if k.Kind == yaml.ScalarNode {
		n := &Node{Place: at}
		b.scalar(n, k)
		if n.Kind == String {
			return k.Value, true
		}
		f := fault.New(fault.ScoreKeyType, "a key must be a string and is %s", n.Kind).At(at)
		if n.Kind != Null && k.Style&yaml.TaggedStyle == 0 {
			f.Do("Write it in quotes: \"%s\".", clip(k.Value))
		}
		b.add(f)
		return "", false
	}
	b.add(fault.New(fault.ScoreKeyType, "a key must be a string").At(at))
	return "", false
}

// merge adds the entries of a merge key's value, a map or a list of maps; keys that are there already win.
func (b *builder) merge(seen *keySet, v *yaml.Node, depth int) int {
	before := b.spent
	value, height := b.node(v, depth)
	if b.stopped || value == nil {
		return 0
	}
	maps := []*Node{value}
	if value.Kind == List {
		maps = value.Items
	}
	for _, m := range maps {
		if m.Kind != Map {
			b.add(fault.New(fault.ScoreAlias, "<< takes a map or a list of maps, not %s", m.Kind).At(b.src.place(v.Line, v.Column)))
			continue
		}
		for _, e := range m.Entries {
			if seen.find(e.Key) == nil {
				seen.add(e)
			}
		}
	}
	b.spent = max(before, b.spent-1) // the merged map itself is not a value of the tree
	return height
}

// keySet finds the entries of a map by key.
type keySet struct {
	entries *[]Entry
	index   map[string]int
}

func (s *keySet) find(key string) *Entry {
	all := *s.entries
	if s.index != nil {
		if i, ok := s.index[key]; ok {
			return &all[i]
		}
		return nil
	}
	for i := range all {
		if all[i].Key == key {
			return &all[i]
		}
	}
	return nil
}

func (s *keySet) add(e Entry) {
	*s.entries = append(*s.entries, e)
	all := *s.entries
	switch {
	case s.index != nil:
		s.index[e.Key] = len(all) - 1
	case len(all) > smallMap:
		s.index = make(map[string]int, 2*len(all))
		for i := range all {
			s.index[all[i].Key] = i
		}
	}
}
