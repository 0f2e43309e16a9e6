package score

import (
	"bytes"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Source is a file's content with its name.
type Source struct {
	// Name is a path relative to the root of the repository, with forward slashes; it stands in every place.
	Name string
	Data []byte
}

// source is a file that is read, with what is needed to find places in it.
type source struct {
	name string
	// data is without a byte order mark, so that columns count what people see.
	data []byte
	// ascii says that characters are bytes.
	ascii bool
	// plain says that there is nothing but printable ASCII, spaces and newlines.
	plain bool
	// lines holds where each line begins as the YAML library counts lines; made when first needed.
	lines []int
	// exotic says that the library sees line breaks which editors do not: a lone CR, NEL, LS or PS.
	exotic bool
	// newlines holds where each line begins as editors count lines; the same as lines unless exotic.
	newlines []int
	// last is the last place that was asked for; places are asked for in order, mostly in the same line.
	last struct{ line, column, offset int }
}

var byteOrderMark = []byte("\xef\xbb\xbf")

func newSource(s Source) *source {
	src := &source{name: s.Name, data: bytes.TrimPrefix(s.Data, byteOrderMark), ascii: true, plain: true}
	for _, c := range src.data {
		if c < ' ' && c != '\n' || c >= 0x7f {
			src.plain = false
			if c >= utf8.RuneSelf {
				src.ascii = false
				break
			}
		}
	}
	return src
}

// shown returns the text for excerpts: each byte that is not UTF-8 is a question mark, so that columns stay right.
func (s *source) shown() []byte {
	if s.ascii || utf8.Valid(s.data) {
		return s.data
	}
	out := slices.Clone(s.data)
	for i := 0; i < len(out); {
		r, size := utf8.DecodeRune(out[i:])
		if r == utf8.RuneError && size == 1 {
			out[i] = '?'
		}
		i += size
	}
	return out
}

// index finds the beginnings of all lines.
func (s *source) index() {
	if s.lines != nil {
		return
	}
	if s.plain {
		s.lines = append(make([]int, 0, 1+bytes.Count(s.data, []byte{'\n'})), 0)
		for i, c := range s.data {
			if c == '\n' {
				s.lines = append(s.lines, i+1)
			}
		}
		s.newlines = s.lines
		return
	}
	s.lines, s.newlines = []int{0}, []int{0}
	for i := 0; i < len(s.data); i++ {
		size := breakAt(s.data[i:])
		if size == 0 {
			continue
		}
		newline := s.data[i+size-1] == '\n'
		i += size - 1
		s.lines = append(s.lines, i+1)
		if newline {
			s.newlines = append(s.newlines, i+1)
		} else {
			s.exotic = true
		}
	}
}

// breakAt returns the length of the line break that b begins with, as the YAML library sees them, or 0.
func breakAt(b []byte) int {
	switch {
	case b[0] == '\n':
		return 1
	case b[0] == '\r' && len(b) > 1 && b[1] == '\n':
		return 2
	case b[0] == '\r':
		return 1
	case b[0] == 0xc2 && len(b) > 1 && b[1] == 0x85:
		return 2
	case b[0] == 0xe2 && len(b) > 2 && b[1] == 0x80 && (b[2] == 0xa8 || b[2] == 0xa9):
		return 3
	}
	return 0
}

// offset returns where a line and column of the YAML library is; both count from 1, the column in characters.
func (s *source) offset(line, column int) int {
	s.index()
	if line < 1 {
		return 0
	}
	if line > len(s.lines) {
		return len(s.data)
	}
	at, from := s.lines[line-1], 1
	if s.ascii {
		return min(at+max(column-1, 0), len(s.data))
	}
	if s.last.line == line && s.last.column <= column {
		at, from = s.last.offset, s.last.column
	}
	for ; from < column && at < len(s.data); from++ {
		_, size := utf8.DecodeRune(s.data[at:])
		at += size
	}
	s.last.line, s.last.column, s.last.offset = line, column, at
	return at
}

// place turns a line and column of the YAML library into a place.
func (s *source) place(line, column int) fault.Place {
	at := s.offset(line, column)
	if s.exotic || line > len(s.lines) || line < 1 {
		return s.at(at)
	}
	return fault.Place{File: s.name, Line: line, Column: at - s.lines[line-1] + 1}
}

// at returns the place of an offset.
func (s *source) at(offset int) fault.Place {
	s.index()
	line := sort.SearchInts(s.newlines, offset+1)
	return fault.Place{File: s.name, Line: line, Column: offset - s.newlines[line-1] + 1}
}

// find returns the offset of a place.
func (s *source) find(p fault.Place) (int, bool) {
	s.index()
	if p.Line < 1 || p.Line > len(s.newlines) || p.Column < 1 {
		return 0, false
	}
	at := s.newlines[p.Line-1] + p.Column - 1
	return at, at <= len(s.data)
}

// raw returns the unquoted scalar at a place as it is written: up to where a plain scalar of one line ends.
func (s *source) raw(p fault.Place) string {
	at, ok := s.find(p)
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(string(s.data[at:min(at+80, len(s.data))]), "\n")
	for _, end := range []string{" #", ",", "}", "]"} {
		line, _, _ = strings.Cut(line, end)
	}
	return strings.TrimRight(line, " \t\r")
}

// opening begins every placeholder.
const opening = "${"

// locator finds the places of a scalar's placeholders, one after the other. The value differs from the text in the file
// by quotes, escapes, indentation and folding, but each ${ of the value is a ${ of the file, in the same order; so they
// are counted. Where the file hides one (an escaped $), the scalar's own place is returned.
type locator struct {
	src   *source
	at    fault.Place // of the scalar
	value string
	// seen is up to where ${ were counted in the value, and from the same in the file.
	seen, from int
	lost       bool
}

func (s *source) locator(at fault.Place, value string) *locator {
	l := &locator{src: s, at: at, value: value}
	start, ok := s.find(at)
	if !ok {
		l.lost = true
		return l
	}
	if text := s.data[start:]; len(text) > 0 && (text[0] == '|' || text[0] == '>') {
		start += bytes.IndexByte(text, '\n') + 1 // a comment may follow the | or >
	}
	l.from = start
	return l
}

// find returns the place of the ${ at an offset of the value; offsets must grow from call to call.
func (l *locator) find(offset int) fault.Place {
	found := -1
	for l.seen <= offset && !l.lost {
		i := strings.Index(l.value[l.seen:], opening)
		j := bytes.Index(l.src.data[l.from:], []byte(opening))
		if i < 0 || j < 0 {
			l.lost = true
			break
		}
		found = l.from + j
		l.seen, l.from = l.seen+i+len(opening), found+len(opening)
	}
	if found < 0 || l.lost || !sameStart(l.src.data[found:], l.value[offset:]) {
		return l.at
	}
	return l.src.at(found)
}

// sameStart says whether text and value agree up to the first character that may be written differently.
func sameStart(text []byte, value string) bool {
	for i := range min(len(value), len(text)) {
		c := value[i]
		if c == '}' {
			return text[i] == c
		}
		if c == ' ' || c == '\n' || c == '\\' || c == '"' || c == '\'' || text[i] == '\\' {
			return true
		}
		if c != text[i] {
			return false
		}
	}
	return true
}
