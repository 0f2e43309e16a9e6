package score

import (
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// quick reads the plain style in which nearly all Score files are written: one document in block style, ASCII, values
// on the line of their key, lists in brackets on one line. It exists because the YAML library takes longer for a file
// than everything else together. Whatever it is not sure of (anchors, tags, escapes, folding, null, duplicate keys,
// every kind of error) it gives up, and the library reads the file from the beginning. A differential fuzz test holds
// that where it does not give up, its tree and places are those of the library.
type quick struct {
	name, text string
	// start and end are those of the current line, at is where its next thing begins, indent the column of that.
	start, at, end, indent int
	line                   int
	eof, gaveUp            bool
	count                  int
	nodes                  []Node
	entries                []Entry
	items                  []*Node
}

const (
	// quickDepth is how deep the quick reader goes; deeper files are the library's.
	quickDepth = 32
	// quickKeys is up to how many keys of a map the quick reader looks for duplicates one by one.
	quickKeys = 64
	// quickKeyLength is the longest key it reads, in bytes; YAML's own limit is 1024.
	quickKeyLength = 128
	// quickNodes is how many nodes are allocated at once: a little more than a small workload has.
	quickNodes = 48
)

// quickly reads a file, or says that the library must.
func quickly(src *source) ([]*Node, bool) {
	if !src.plain {
		return nil, false
	}
	q := &quick{name: src.name, text: string(src.data)}
	q.next()
	if q.eof || q.indent != 0 {
		return nil, false
	}
	root := q.block(1)
	if q.gaveUp || !q.eof {
		return nil, false
	}
	return []*Node{root}, true
}

// next goes to the next line that has more than white space and comments.
func (q *quick) next() {
	for q.end < len(q.text) || q.line == 0 {
		if q.line > 0 {
			q.start = q.end + 1
		}
		q.line++
		if q.start >= len(q.text) {
			break
		}
		size := strings.IndexByte(q.text[q.start:], '\n')
		if size < 0 {
			size = len(q.text) - q.start
		}
		q.end = q.start + size
		q.at = q.skip(q.start)
		q.indent = q.at - q.start
		if q.at < q.end && q.text[q.at] != '#' {
			return
		}
	}
	q.eof = true
}

// skip returns the offset of the first character from i on that is no space, at most the end of the line.
func (q *quick) skip(i int) int {
	for i < q.end && q.text[i] == ' ' {
		i++
	}
	return i
}

func (q *quick) giveUp() *Node {
	q.gaveUp = true
	return nil
}

func (q *quick) place(at int) fault.Place {
	return fault.Place{File: q.name, Line: q.line, Column: at - q.start + 1}
}

func (q *quick) node(kind Kind, at int) *Node {
	if len(q.nodes) == 0 {
		q.nodes = make([]Node, quickNodes)
	}
	n := &q.nodes[0]
	q.nodes = q.nodes[1:]
	n.Kind, n.Place = kind, q.place(at)
	q.count++
	return n
}

// block reads the map or list that begins at the current position.
func (q *quick) block(depth int) *Node {
	switch {
	case depth > quickDepth || q.count > maxNodes/2:
		return q.giveUp()
	case q.dash():
		return q.list(depth)
	default:
		return q.mapping(depth)
	}
}

// dash says whether an item of a list begins here.
func (q *quick) dash() bool { return q.text[q.at] == '-' && q.at+1 < q.end && q.text[q.at+1] == ' ' }

func (q *quick) mapping(depth int) *Node {
	column, first := q.indent, len(q.entries)
	n := q.node(Map, q.at)
	for {
		colon := q.key()
		if colon < 0 {
			return q.giveUp()
		}
		e := Entry{Key: q.text[q.at:colon], Place: q.place(q.at)}
		own := q.entries[first:]
		if len(own) >= quickKeys {
			return q.giveUp()
		}
		for i := range own {
			if own[i].Key == e.Key {
				return q.giveUp()
			}
		}
		q.entries = append(q.entries, e) // its place is kept while what is below it is read
		mine := len(q.entries) - 1
		value := q.value(colon+1, column, depth)
		if q.gaveUp {
			return nil
		}
		q.entries = q.entries[:mine+1]
		q.entries[mine].Value = value
		if q.eof || q.indent < column {
			break
		}
		if q.indent > column {
			return q.giveUp()
		}
	}
	n.Entries = append(make([]Entry, 0, len(q.entries)-first), q.entries[first:]...)
	q.entries = q.entries[:first]
	return n
}

// key returns where the colon of a key is that begins at the current position, or -1.
func (q *quick) key() int {
	for i := q.at; i < q.end && i-q.at <= quickKeyLength; i++ {
		c := q.text[i]
		if isAlnum(c) || c == '_' || c == '/' || (c == '-' || c == '.') && i > q.at {
			continue
		}
		if c != ':' || i == q.at || i+1 < q.end && q.text[i+1] != ' ' {
			return -1
		}
		if kind, _ := resolvePlain(q.text[q.at:i]); kind != String {
			return -1
		}
		return i
	}
	return -1
}

// value reads what stands behind the colon at i of a key at a column.
func (q *quick) value(i, column, depth int) *Node {
	at := q.skip(i)
	if at == q.end || q.text[at] == '#' {
		q.next()
		if q.eof || q.indent < column || q.indent == column && !q.dash() {
			return q.giveUp() // null
		}
		return q.block(depth + 1)
	}
	if q.text[at] == '|' {
		return q.literal(at, column)
	}
	n := q.inline(at)
	if !q.gaveUp {
		q.next()
	}
	return n
}

func (q *quick) list(depth int) *Node {
	column, first := q.indent, len(q.items)
	n := q.node(List, q.at)
	for {
		q.at = q.skip(q.at + 1)
		q.indent = q.at - q.start
		if q.at == q.end {
			return q.giveUp()
		}
		var item *Node
		if q.key() >= 0 {
			item = q.block(depth + 1)
		} else if item = q.inline(q.at); !q.gaveUp {
			q.next()
		}
		if q.gaveUp {
			return nil
		}
		q.items = append(q.items, item)
		if q.eof || q.indent < column || q.indent == column && !q.dash() {
			break // the caller sees whether what follows may stand there
		}
		if q.indent > column {
			return q.giveUp()
		}
	}
	n.Items = append(make([]*Node, 0, len(q.items)-first), q.items[first:]...)
	q.items = q.items[:first]
	return n
}

// literal reads a block scalar that begins with the | at an offset, below a key at a column.
func (q *quick) literal(at, column int) *Node {
	header := q.text[at:q.end]
	if header != "|" && header != "|-" {
		return q.giveUp()
	}
	n := q.node(String, at)
	var b strings.Builder
	indent, blank := 0, 0
	for {
		start := q.end + 1
		if start >= len(q.text) {
			break
		}
		size := strings.IndexByte(q.text[start:], '\n')
		unended := size < 0
		if unended {
			size = len(q.text) - start
		}
		if size > 0 && blankTo(q.text[start:start+size], size) {
			return q.giveUp() // spaces alone, which may be content or not
		}
		if size > 0 && !blankTo(q.text[start:start+size], indent) {
			break
		}
		if unended {
			return q.giveUp() // whether the text ends with a newline is not for us to say
		}
		q.start, q.end = start, start+size
		q.line++
		if size == 0 {
			blank++
			continue
		}
		if indent == 0 {
			indent = q.skip(start) - start
			if indent <= column || blank > 0 {
				return q.giveUp()
			}
		}
		for ; blank > 0; blank-- {
			b.WriteByte('\n')
		}
		b.WriteString(q.text[start+indent : q.end])
		b.WriteByte('\n')
	}
	if indent == 0 {
		return q.giveUp()
	}
	n.Text = b.String()
	if header == "|-" {
		n.Text = strings.TrimRight(n.Text, "\n")
	}
	q.next()
	if !q.eof && q.indent > column {
		return q.giveUp()
	}
	return n
}

// blankTo says whether a line begins with n spaces.
func blankTo(line string, n int) bool {
	return len(line) >= n && strings.TrimLeft(line[:n], " ") == ""
}
