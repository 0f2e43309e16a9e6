package score

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Change is something that [Fix] rewrote.
type Change struct {
	Code fault.Code  // of the fault that it removes
	At   fault.Place // in the file as it was
	// Text says what was done, in a few words.
	Text string
}

// Fix rewrites what the innominatus dialect writes differently from Score. It edits the text: comments, order,
// formatting and everything else stay byte for byte.
//
//   - env, a map or a list of names and values, becomes variables, and properties becomes params, also beside an empty
//     variables or params; numbers and booleans in variables are quoted
//   - ports of a container move to service.ports; one that is there already, or is the target of one, is only removed
//   - environment and workflows are commented out, with a note
//   - ${resources.name.outputs.key} becomes ${resources.name.key}
//
// What it cannot rewrite without doubt it leaves as it is: the result is read again, and an edit whose result is not
// exactly what was meant is not made. faults are those of the result; applying Fix to it changes nothing.
func Fix(src Source) (fixed []byte, changes []Change, faults fault.List) {
	r := &report{}
	s := newSource(src)
	docs := r.scoreDocuments(s)
	edits := plan(s, docs)
	if out, made := apply(s, docs, edits); len(made) > 0 {
		mark := len(src.Data) - len(s.data)
		fixed = append(slices.Clone(src.Data[:mark]), out...)
		for _, e := range made {
			changes = append(changes, e.change)
		}
	} else {
		fixed = src.Data
	}
	_, faults = Load(Source{Name: src.Name, Data: fixed})
	return fixed, changes, faults
}

// edit is a change of the text, and the same change of the tree, by which the result is checked.
type edit struct {
	cuts   []cut
	change Change
	mutate func(copies)
}

// cut replaces a part of the text.
type cut struct {
	from, to int
	text     string
}

// copies holds a copy of each node of a tree, which may be changed. Shared nodes have one copy, for a change of the
// text that they come from changes them everywhere.
type copies map[*Node]*Node

func (c copies) of(n *Node) *Node {
	if n == nil {
		return nil
	}
	if out, ok := c[n]; ok {
		return out
	}
	out := &Node{Kind: n.Kind, Text: n.Text, Place: n.Place}
	c[n] = out
	for _, e := range n.Entries {
		e.Value = c.of(e.Value)
		out.Entries = append(out.Entries, e)
	}
	for _, item := range n.Items {
		out.Items = append(out.Items, c.of(item))
	}
	return out
}

// rename changes a key. One that has the new name already goes.
func (c copies) rename(n *Node, from, to string) {
	c.remove(n, to)
	if e := c.of(n).entry(from); e != nil {
		e.Key = to
	}
}

func (c copies) remove(n *Node, key string) {
	m := c.of(n)
	m.Entries = slices.DeleteFunc(m.Entries, func(e Entry) bool { return e.Key == key })
}

// When all edits together do not give what was meant, they are tried one by one; each try reads the whole file.
const (
	// maxTries is up to how many edits are tried.
	maxTries = 50
	// maxTrySize is the largest file, in bytes, that is read so often.
	maxTrySize = 64 << 10
)

// apply makes the edits that give what was meant: all of them, or else those that do so one after the other.
func apply(src *source, docs []*Node, edits []edit) ([]byte, []edit) {
	if len(edits) == 0 {
		return nil, nil
	}
	if out := cutAll(src.data, edits); asMeant(src, docs, edits, out) {
		return out, edits
	}
	if len(edits) > maxTries || len(src.data) > maxTrySize {
		return nil, nil
	}
	var made []edit
	var best []byte
	for _, e := range edits {
		try := append(slices.Clone(made), e)
		if out := cutAll(src.data, try); asMeant(src, docs, try, out) {
			made, best = try, out
		}
	}
	return best, made
}

// cutAll returns the text with all cuts, or nil when they overlap.
func cutAll(data []byte, edits []edit) []byte {
	var all []cut
	for _, e := range edits {
		all = append(all, e.cuts...)
	}
	slices.SortStableFunc(all, func(a, b cut) int { return cmp.Or(a.from-b.from, a.to-b.to) })
	var out []byte
	at := 0
	for _, c := range all {
		if c.from < at {
			return nil
		}
		out = append(append(out, data[at:c.from]...), c.text...)
		at = c.to
	}
	return append(out, data[at:]...)
}

// asMeant says whether the text after the edits reads as the documents after the same edits.
func asMeant(src *source, docs []*Node, edits []edit, out []byte) bool {
	if out == nil || len(out) > maxSize {
		return false
	}
	c := copies{}
	for _, d := range docs {
		c.of(d)
	}
	for _, e := range edits {
		e.mutate(c)
	}
	r := &report{}
	got := r.scoreDocuments(newSource(Source{Name: src.name, Data: out}))
	if len(got) != len(docs) {
		return false
	}
	for i, d := range docs {
		if !bytes.Equal(got[i].Canonical(), c.of(d).Canonical()) {
			return false
		}
	}
	return true
}

// plan finds the edits of all documents. Positions are those of the text as it is.
func plan(src *source, docs []*Node) []edit {
	p := planner{src: src, newline: "\n"}
	if bytes.Contains(src.data, []byte("\r\n")) {
		p.newline = "\r\n"
	}
	for _, d := range docs {
		if d != nil && d.Kind == Map {
			p.document(d)
		}
	}
	return p.edits
}

type planner struct {
	src     *source
	newline string
	edits   []edit
}

func (p *planner) document(root *Node) {
	for _, c := range root.Get("containers").sorted() {
		p.rename(c.Value, "env", "variables", fault.ScoreDialectVariables)
		p.list(c.Value)
		p.quote(c.Value.Get("env"))
		p.quote(c.Value.Get("variables"))
	}
	for _, r := range root.Get("resources").sorted() {
		p.rename(r.Value, "properties", "params", fault.ScoreDialectParams)
	}
	for _, key := range []string{"environment", "workflows"} {
		p.commentOut(root, key)
	}
	p.outputs(root)
	p.ports(root)
	slices.SortStableFunc(p.edits, func(a, b edit) int {
		return cmp.Or(a.change.At.Line-b.change.At.Line, a.change.At.Column-b.change.At.Column)
	})
}

// rename changes a key of a map, if the new one is not there yet or empty.
func (p *planner) rename(n *Node, from, to string, code fault.Code) {
	e := n.entry(from)
	if e == nil || e.Value.Kind != Map {
		return
	}
	cuts, ok := p.key(n, from, to)
	if !ok {
		return
	}
	p.edits = append(p.edits, edit{
		cuts:   cuts,
		change: Change{code, e.Place, from + " is now " + to},
		mutate: func(c copies) { c.rename(n, from, to) },
	})
}

// key returns the cuts that change a key. Where the new one is there already it must be empty, and goes.
func (p *planner) key(n *Node, from, to string) ([]cut, bool) {
	at, ok := p.src.find(n.entry(from).Place)
	if !ok {
		return nil, false
	}
	if bytes.HasPrefix(p.src.data[at:], []byte(`"`)) || bytes.HasPrefix(p.src.data[at:], []byte(`'`)) {
		at++
	}
	if !bytes.HasPrefix(p.src.data[at:], []byte(from)) {
		return nil, false
	}
	cuts := []cut{{at, at + len(from), to}}
	if e := n.entry(to); e != nil {
		gone, ok := p.empty(e)
		if !ok {
			return nil, false
		}
		cuts = append(cuts, gone)
	}
	return cuts, true
}

// emptyInBraces is an entry with nothing in it, in a map in braces, and the comma after it.
var emptyInBraces = regexp.MustCompile(`^\w+:[ ]*(\{[ ]*\}|null|~)?[ ]*,[ ]*`)

// empty returns the cut that takes out an entry with nothing in it. A comment on its line stays.
func (p *planner) empty(e *Entry) (cut, bool) {
	if e.Value.Kind != Null && (e.Value.isScalar() || len(e.Value.Entries)+len(e.Value.Items) > 0) {
		return cut{}, false
	}
	at, found := p.src.find(e.Place)
	if !found {
		return cut{}, false
	}
	from, to, block := p.block(e)
	if !block {
		size := len(emptyInBraces.Find(p.src.data[at:]))
		return cut{at, at + size, ""}, size > 0
	}
	if i := bytes.IndexByte(p.src.data[from:to], '#'); i >= 0 {
		return cut{at, from + i, ""}, true
	}
	return cut{from, to, ""}, true
}

// quote puts numbers and booleans of variables into quotes.
func (p *planner) quote(variables *Node) {
	if variables == nil || variables.Kind != Map {
		return
	}
	for _, e := range variables.Entries {
		v := e.Value
		if v.Kind != Bool && v.Kind != Int && v.Kind != Float {
			continue
		}
		raw := p.src.raw(v.Place)
		at, ok := p.src.find(v.Place)
		if kind, text := resolvePlain(raw); !ok || kind != v.Kind || text != v.Text || !p.follows(e.Place, at) {
			continue
		}
		p.edits = append(p.edits, edit{
			cuts:   []cut{{at, at, `"`}, {at + len(raw), at + len(raw), `"`}},
			change: Change{fault.ScoreType, v.Place, "quoted " + clip(raw)},
			mutate: func(c copies) { c.of(v).Kind, c.of(v).Text = String, raw },
		})
	}
}

// follows says whether between a key and the value at an offset there is nothing but the colon: no anchor, no tag, and
// the value is not one that stands elsewhere.
func (p *planner) follows(key fault.Place, at int) bool {
	from, ok := p.src.find(key)
	if !ok || from >= at {
		return false
	}
	between := strings.TrimRight(string(p.src.data[from:at]), " ")
	return strings.HasSuffix(between, ":") && !strings.Contains(between, "\n")
}

// outputs takes "outputs." out of placeholders.
func (p *planner) outputs(root *Node) {
	seen := map[int]bool{}
	for s := range slots(root) {
		for r := range s.references([]*source{p.src}) {
			at, ok := p.src.find(r.At)
			if !ok || len(r.Path) < 4 || r.Path[0] != "resources" || r.Path[2] != "outputs" ||
				!bytes.HasPrefix(p.src.data[at:], []byte(opening+r.Raw+"}")) {
				continue
			}
			before, after, found := strings.Cut(r.Raw, ".outputs.")
			if !found || seen[at] {
				continue
			}
			seen[at] = true
			from := at + len(opening) + len(before) + 1
			node, old, now := s.node, opening+r.Raw+"}", opening+before+"."+after+"}"
			p.edits = append(p.edits, edit{
				cuts:   []cut{{from, from + len("outputs."), ""}},
				change: Change{fault.ScoreDialectOutputs, r.At, old + " is now " + now},
				mutate: func(c copies) { c.of(node).Text = strings.Replace(c.of(node).Text, old, now, 1) },
			})
		}
	}
}
