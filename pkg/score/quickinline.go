package score

import "strings"

// inline reads the scalar, or the list in brackets, that begins at an offset and takes the rest of the line.
func (q *quick) inline(at int) *Node {
	var n *Node
	var after int
	switch c := q.text[at]; c {
	case '"', '\'':
		n, after = q.quoted(at)
	case '[':
		n, after = q.flow(at)
	case '{':
		if !strings.HasPrefix(q.text[at:q.end], "{}") {
			return q.giveUp()
		}
		n, after = q.node(Map, at), at+len("{}")
		n.Entries = []Entry{}
	case '-':
		if at+1 == q.end || q.text[at+1] == ' ' {
			return q.giveUp()
		}
		return q.bare(at)
	case '?', ':', ',', ']', '}', '#', '&', '*', '!', '|', '>', '%', '@', '`':
		return q.giveUp()
	default:
		return q.bare(at)
	}
	if q.gaveUp || !q.closed(after) {
		return q.giveUp()
	}
	return n
}

// closed says whether nothing but a comment follows.
func (q *quick) closed(after int) bool {
	at := q.skip(after)
	return at == q.end || q.text[at] == '#' && at > after
}

// bare reads an unquoted scalar up to the end of the line or a comment.
func (q *quick) bare(at int) *Node {
	text := q.text[at:q.end]
	if i := strings.Index(text, " #"); i >= 0 {
		text = text[:i]
	}
	text = strings.TrimRight(text, " ")
	if i := strings.IndexByte(text, ':'); i >= 0 && (strings.Contains(text[i:], ": ") || strings.HasSuffix(text, ":")) {
		return q.giveUp()
	}
	n := q.node(String, at)
	n.Kind, n.Text = resolvePlain(text)
	return n
}

// quoted reads a quoted scalar without escapes and returns what is after it.
func (q *quick) quoted(at int) (*Node, int) {
	quote := q.text[at]
	size := strings.IndexByte(q.text[at+1:q.end], quote)
	if size < 0 {
		return q.giveUp(), 0
	}
	text := q.text[at+1 : at+1+size]
	after := at + size + 2
	if quote == '"' && strings.IndexByte(text, '\\') >= 0 || after < q.end && q.text[after] == quote {
		return q.giveUp(), 0
	}
	n := q.node(String, at)
	n.Text = text
	return n, after
}

// flow reads a list of scalars in brackets and returns what is after it.
func (q *quick) flow(at int) (*Node, int) {
	n := q.node(List, at)
	n.Items = []*Node{}
	i := q.skip(at + 1)
	if i < q.end && q.text[i] == ']' {
		return n, i + 1
	}
	for i < q.end {
		var item *Node
		if q.text[i] == '"' || q.text[i] == '\'' {
			item, i = q.quoted(i)
		} else {
			item, i = q.word(i)
		}
		if q.gaveUp {
			return nil, 0
		}
		n.Items = append(n.Items, item)
		i = q.skip(i)
		if i < q.end && q.text[i] == ']' {
			return n, i + 1
		}
		if i >= q.end || q.text[i] != ',' {
			break
		}
		i = q.skip(i + 1)
	}
	return q.giveUp(), 0
}

// word reads an unquoted scalar of harmless characters and returns what is after it.
func (q *quick) word(at int) (*Node, int) {
	i := at
	for i < q.end && (isAlnum(q.text[i]) || strings.IndexByte("_./=", q.text[i]) >= 0 || q.text[i] == '-' && i > at) {
		i++
	}
	if i == at {
		return q.giveUp(), 0
	}
	n := q.node(String, at)
	n.Kind, n.Text = resolvePlain(q.text[at:i])
	return n, i
}
