package fault

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Print writes the faults for a terminal or a log that people read: one block per fault with place, message, source
// line with a caret, "did you mean", remedy and link, and nothing in it that could drive the terminal.
func Print(w io.Writer, faults List) error {
	for i, f := range faults {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(w, f.Text()); err != nil {
			return err
		}
	}
	return nil
}

// Text returns the fault as [Print] writes it, with a newline at the end.
func (f *Fault) Text() string {
	var b strings.Builder
	if at := f.Place.String(); at != "" {
		b.WriteString(Plain(at) + ": ")
	}
	fmt.Fprintf(&b, "%s: %s [%s]\n", f.Severity, Plain(f.Message), f.Code)
	if f.Excerpt != "" {
		number := fmt.Sprint(f.Place.Line)
		fmt.Fprintf(&b, "  %s | %s\n", number, Plain(f.Excerpt))
		if f.Caret > 0 {
			fmt.Fprintf(&b, "  %s | %s^\n", strings.Repeat(" ", len(number)), blanks(f.Excerpt, f.Caret-1))
		}
	}
	if f.Suggestion != "" {
		fmt.Fprintf(&b, "  did you mean %s?\n", Plain(f.Suggestion))
	}
	if advice := f.Advice(); advice != "" {
		fmt.Fprintf(&b, "  %s\n", Plain(advice))
	}
	fmt.Fprintf(&b, "  %s\n", f.Code.Link())
	return b.String()
}

// excerptLimit is the longest source line shown, in bytes: two lines of a terminal; a minified file must not flood it.
const excerptLimit = 160

// Show sets the excerpt and caret from the source text that the fault's place points into.
func (f *Fault) Show(source []byte) *Fault {
	line, ok := lineOf(source, f.Place.Line)
	if !ok {
		return f
	}
	from, column := 0, f.Place.Column
	if column > len(line)+1 {
		column = len(line) + 1
	}
	if column > excerptLimit {
		from = column - excerptLimit/2
	}
	// At most three bytes away, a character begins; in text that is not UTF-8 the cut stays where it is.
	for range utf8.UTFMax {
		if from > 0 && from < len(line) && !utf8.RuneStart(line[from]) {
			from--
		}
	}
	end := min(len(line), from+excerptLimit)
	for range utf8.UTFMax {
		if end < len(line) && end > column && !utf8.RuneStart(line[end]) {
			end--
		}
	}
	// Bytes that are not UTF-8 change the length, so the caret is counted in what is shown.
	culprit := max(from, column-1)
	before := strings.ToValidUTF8(line[from:culprit], "�")
	f.Excerpt = before + strings.ToValidUTF8(line[culprit:end], "�")
	if column > 0 {
		f.Caret = len(before) + 1
	}
	return f
}

func lineOf(source []byte, number int) (string, bool) {
	if number < 1 {
		return "", false
	}
	for ; number > 1; number-- {
		_, rest, found := bytes.Cut(source, []byte("\n"))
		if !found {
			return "", false
		}
		source = rest
	}
	line, _, _ := bytes.Cut(source, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r"))), true
}

// blanks returns as many columns of white space as the first n bytes of s take, tabs kept.
func blanks(s string, n int) string {
	var b strings.Builder
	for i, r := range s {
		if i >= n {
			break
		}
		if r == '\t' {
			b.WriteRune('\t')
		} else {
			b.WriteRune(' ')
		}
	}
	return b.String()
}

// Plain returns s without characters that drive a terminal or turn the reading direction: control characters other
// than tab, bidirectional and other invisible format characters become "�", line breaks a space.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r == '\n', r == '\r', unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return utf8.RuneError
		default:
			return r
		}
	}, s)
}
