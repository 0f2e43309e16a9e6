package score

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Canonical returns the value as compact JSON without places and with sorted keys: equal values give equal bytes.
func (n *Node) Canonical() []byte { return n.appendCanonical(nil) }

func (n *Node) appendCanonical(b []byte) []byte {
	if n == nil {
		return append(b, "null"...)
	}
	switch n.Kind {
	case Null:
		return append(b, "null"...)
	case String:
		return appendString(b, n.Text)
	case List:
		b = append(b, '[')
		for i, item := range n.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendCanonical(b)
		}
		return append(b, ']')
	case Map:
		b = append(b, '{')
		for i, e := range n.sorted() {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, e.Key), ':')
			b = e.Value.appendCanonical(b)
		}
		return append(b, '}')
	default:
		if !finite(n) {
			return appendString(b, n.Text)
		}
		return append(b, n.Text...)
	}
}

// finite says whether a number can be written in JSON. Infinity and not-a-number are refused when a file is loaded.
func finite(n *Node) bool {
	return n.Kind != Float || n.Text != "" && n.Text[len(n.Text)-1] <= '9'
}

// appendString writes s as a JSON string; <, > and & stay readable.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[from:i]...), `\ufffd`...)
				from = i + 1
			}
			i += size
			continue
		}
		if c < ' ' || c == '"' || c == '\\' || c == 0x7f {
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = fmt.Appendf(b, `\u%04x`, c)
			}
			from = i + 1
		}
		i++
	}
	return append(append(b, s[from:]...), '"')
}

// MarshalJSON writes the node compactly with its places: {"files":[name…],"root":node}, where a node is
// [kind, line, column, file, content] with the file as an index, a scalar's text, a list's nodes, or a map's
// [key, line, column, file, node].
func (n *Node) MarshalJSON() ([]byte, error) {
	files := fileTable{}
	root := n.appendPlaced(nil, &files)
	names, err := json.Marshal(files.names)
	if err != nil {
		return nil, fmt.Errorf("write file names: %w", err)
	}
	out := make([]byte, 0, len(root)+len(names)+24)
	out = append(append(out, `{"files":`...), names...)
	out = append(append(out, `,"root":`...), root...)
	return append(out, '}'), nil
}
