package score

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Part is a piece of a string with placeholders.
type Part struct {
	// Literal is text that stays as it is, escapes taken away. It is "" for a placeholder.
	Literal string
	// Raw is the text between ${ and } of a placeholder.
	Raw string
	// Path is the placeholder's path, \. taken as a dot that does not separate; nil for literal text.
	Path []string
	// Offset is where the part begins in the string, in bytes.
	Offset int
}

// Parse cuts a string into literal text and placeholders. It never fails: what does not look like ${…} is literal.
//
//	${a.b}   the placeholder a.b
//	$${a.b}  the text ${a.b}
//	$$       the text $
//	$ ${a    themselves: nothing is closed
//
// Whether a path means something is not looked at here.
func Parse(s string) []Part { return slices.Collect(parts(s)) }

// parts yields what [Parse] returns.
func parts(s string) iter.Seq[Part] {
	return func(yield func(Part) bool) {
		var text []byte
		from, at := 0, 0 // where text and what follows it begin
		closing := strings.LastIndexByte(s, '}')
		flush := func() bool { return len(text) == 0 || yield(Part{Literal: string(text), Offset: from}) }
		for at < len(s) {
			dollar := strings.IndexByte(s[at:], '$')
			if dollar < 0 {
				text = append(text, s[at:]...)
				break
			}
			dollar += at
			text = append(text, s[at:dollar]...)
			rest := s[dollar+1:]
			switch {
			case strings.HasPrefix(rest, "{") && dollar < closing:
				raw, _, _ := strings.Cut(rest[1:], "}")
				at = dollar + len("${}") + len(raw)
				if !flush() || !yield(Part{Raw: raw, Path: split(raw), Offset: dollar}) {
					return
				}
				text, from = text[:0], at
			case strings.HasPrefix(rest, "${") && dollar < closing:
				end := strings.IndexByte(rest, '}') + 1
				text = append(text, rest[:end]...)
				at = dollar + 1 + end
			case strings.HasPrefix(rest, "$"):
				text = append(text, '$')
				at = dollar + 2
			default:
				text = append(text, '$')
				at = dollar + 1
			}
		}
		flush()
	}
}

// split cuts a path at its dots; \. is a dot inside a key.
func split(raw string) []string {
	if strings.IndexByte(raw, '\\') < 0 {
		return strings.Split(raw, ".")
	}
	var out []string
	var key strings.Builder
	for i := 0; i < len(raw); i++ {
		switch {
		case raw[i] == '\\' && i+1 < len(raw) && raw[i+1] == '.':
			key.WriteByte('.')
			i++
		case raw[i] == '.':
			out = append(out, key.String())
			key.Reset()
		default:
			key.WriteByte(raw[i])
		}
	}
	return append(out, key.String())
}

// Expand replaces each placeholder of s by what resolve returns for its path.
func Expand(s string, resolve func(path []string) (string, error)) (string, error) {
	if strings.IndexByte(s, '$') < 0 {
		return s, nil
	}
	var b strings.Builder
	for p := range parts(s) {
		if p.Path == nil {
			b.WriteString(p.Literal)
			continue
		}
		value, err := resolve(p.Path)
		if err != nil {
			return "", fmt.Errorf("resolve ${%s}: %w", p.Raw, err)
		}
		b.WriteString(value)
	}
	return b.String(), nil
}
