package score

import (
	"bytes"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// list makes variables of an env that is a list of maps with name and value, as Kubernetes has it. Values stay where they
// are, and what is around them changes. It gives up when one item is anything else.
func (p *planner) list(container *Node) {
	e := container.entry("env")
	if e == nil || e.Value.Kind != List {
		return
	}
	cuts, ok := p.key(container, "env", "variables")
	key, found := p.src.find(e.Place)
	start, begun := p.src.find(e.Value.Place)
	if !ok || !found || !begun || start < key || start == len(p.src.data) || strings.IndexByte("[-", p.src.data[start]) < 0 {
		return // an anchor, a tag, or a list that stands elsewhere
	}
	l := envList{planner: p, brackets: p.src.data[start] == '[', column: key - p.lineStart(key), end: start + 1, cuts: cuts, quoted: map[*Node]string{}}
	seen := map[string]bool{}
	for _, item := range e.Value.Items {
		name := item.Get("name").text()
		if seen[name] || !variableFormat.ok(name) || !l.item(item) {
			return
		}
		seen[name] = true
	}
	if l.brackets {
		end := p.skip(l.end, " ,\r\n")
		if end == len(p.src.data) || p.src.data[end] != ']' {
			return
		}
		l.cuts = append(l.cuts, cut{start, start + 1, "{"}, cut{end, end + 1, "}"})
	}
	p.edits = append(p.edits, edit{
		cuts:   l.cuts,
		change: Change{fault.ScoreDialectVariables, e.Place, "env, a list, is now variables"},
		mutate: func(c copies) {
			c.rename(container, "env", "variables")
			c.named(e.Value, l.quoted)
		},
	})
}

// envList makes entries of a map of the items of a list.
type envList struct {
	*planner
	// brackets says that the list is in brackets, and so the map in braces.
	brackets bool
	// column is that of the list's key, from 0; in block style what is below it stands further right.
	column int
	cuts   []cut
	// quoted are the values that were no strings, as they are written.
	quoted map[*Node]string
	// end is where the last item ends, if it ends on its line.
	end int
}

// item makes an entry of an item.
func (l *envList) item(item *Node) bool {
	if len(item.Entries) != 2 {
		return false
	}
	first, second := &item.Entries[0], &item.Entries[1]
	a, b := l.scalar(first, item), l.scalar(second, item)
	name, value := a, b
	if first.Key == "value" {
		name, value = b, a
	}
	from, indent, ok := l.begin(item)
	if !ok || a.to < 0 || name.to < 0 || a.from < from || b.from < a.to || !l.finish(item, b) {
		return false
	}
	quote := ""
	if k := value.node.Kind; k == Null || k != String && value.to < 0 {
		return false
	} else if k != String {
		quote = `"`
		l.quoted[value.node] = string(l.src.data[value.from:value.to])
	}
	above := l.remarks(a.to, b.from)
	if above != "" && l.brackets {
		return false
	}
	entry := indent + string(l.src.data[name.from:name.to]) + ": " + quote
	if above != "" {
		entry = indent + strings.ReplaceAll(above, "\n", l.newline+indent) + l.newline + entry
	}
	l.cuts = append(l.cuts, cut{from, value.from, entry})
	if value.to >= 0 {
		l.cuts = append(l.cuts, cut{value.to, l.end, quote})
	}
	return true
}

// begin returns where an item begins: at its line, or in brackets at its brace, and how far what replaces it stands in.
func (l *envList) begin(item *Node) (from int, indent string, ok bool) {
	from, ok = l.src.find(item.Place)
	if !ok || l.brackets {
		return from, "", ok
	}
	line := l.lineStart(from)
	indent, rest, dash := strings.Cut(string(l.src.data[line:from]), "-")
	if len(indent) <= l.column {
		indent += "  "
	}
	return line, indent, dash && strings.TrimLeft(indent+rest, " ") == ""
}

// finish sets where an item ends that ends with a scalar: there, or behind its brace.
func (l *envList) finish(item *Node, last written) bool {
	l.end = last.to
	if !l.inBraces(item) {
		return true
	}
	if last.to < 0 {
		return false
	}
	at := l.skip(last.to, " ,")
	l.end = at + 1
	return at < len(l.src.data) && l.src.data[at] == '}'
}

func (l *envList) inBraces(n *Node) bool {
	at, ok := l.src.find(n.Place)
	return ok && at < len(l.src.data) && l.src.data[at] == '{'
}

// written is a scalar in the text; to is -1 if it does not end on the line on which it begins.
type written struct {
	node     *Node
	from, to int
}

// scalar finds the value of an entry of an item; from is -1 if it is not a scalar on the line of its key.
func (l *envList) scalar(e *Entry, item *Node) written {
	w := written{node: e.Value, from: -1, to: -1}
	at, ok := l.src.find(e.Value.Place)
	if e.Key != "name" && e.Key != "value" || !ok || !e.Value.isScalar() || !l.follows(e.Place, at) {
		return w
	}
	w.from = at
	line := string(bytes.TrimRight(l.src.data[at:lineEnd(l.src.data, at)], "\r\n"))
	size := 0
	switch {
	case line == "" || strings.ContainsAny(line[:1], "|>"):
		return w
	case line[0] == '"' || line[0] == '\'':
		size = quotedSize(line)
	default:
		plain, _, _ := strings.Cut(line, " #")
		if i := strings.IndexAny(plain, ",}"); i >= 0 && l.inBraces(item) {
			plain = plain[:i]
		}
		plain = strings.TrimRight(plain, " ")
		if kind, text := resolvePlain(plain); kind == e.Value.Kind && text == e.Value.Text {
			size = len(plain)
		}
	}
	if size > 0 {
		w.to = at + size
	}
	return w
}

// quotedSize returns the length of the quoted scalar that a line begins with, 0 if it does not end there.
func quotedSize(line string) int {
	quote := line[0]
	for i := 1; i < len(line); i++ {
		switch {
		case quote == '"' && line[i] == '\\', quote == '\'' && line[i] == quote && strings.HasPrefix(line[i+1:], "'"):
			i++
		case line[i] == quote:
			return i + 1
		}
	}
	return 0
}

// remarks returns the comments in a part of the text that has nothing but keys beside them, one a line.
func (l *envList) remarks(from, to int) string {
	var out []string
	for line := range strings.Lines(string(l.src.data[from:to])) {
		if i := strings.IndexByte(line, '#'); i >= 0 {
			out = append(out, strings.TrimRight(line[i:], " \r\n"))
		}
	}
	return strings.Join(out, "\n")
}

func (p *planner) lineStart(at int) int { return bytes.LastIndexByte(p.src.data[:at], '\n') + 1 }

// skip returns where something begins that is none of the characters.
func (p *planner) skip(at int, characters string) int {
	return len(p.src.data) - len(bytes.TrimLeft(p.src.data[at:], characters))
}

// named makes a map of the copy of a list of names and values. Quoted values are strings now.
func (c copies) named(list *Node, quoted map[*Node]string) {
	out := c.of(list)
	out.Kind, out.Items, out.Entries = Map, nil, make([]Entry, 0, len(list.Items))
	for _, item := range list.Items {
		value := c.of(item.Get("value"))
		if raw, ok := quoted[item.Get("value")]; ok {
			value.Kind, value.Text = String, raw
		}
		out.Entries = append(out.Entries, Entry{Key: item.Get("name").text(), Value: value})
	}
}
