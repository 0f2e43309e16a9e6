package score

import (
	"bytes"
	"errors"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/innominatus/reconciler/pkg/fault"
)

// syntaxFault tells about an error of the YAML library in its words, with what the text at the place suggests.
func syntaxFault(src *source, err error) *fault.Fault {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		f := fault.New(fault.ScoreSyntax, "%w", err)
		return f.At(fault.Place{File: src.name})
	}
	at := culprit(src, e)
	if strings.Contains(e.Message, errDepth.Error()) { // the library takes the text of the check's error only
		return fault.New(fault.ScoreLimit, "the file is %w", errDepth).At(src.at(at))
	}
	message := e.Message
	if e.ContextMsg != "" {
		message = e.ContextMsg + ": " + message
	}
	f := fault.New(fault.ScoreSyntax, "%s", message).At(src.at(at))
	f.Cause = err
	if at >= len(src.data) {
		return f
	}
	switch c := src.data[at]; c {
	case '\t':
		f.Do("Indent with spaces; YAML does not allow tabs there.")
	case '%', '@', '`':
		f.Do("A value that begins with %c must be in quotes.", c)
	case ':':
		f.Do("Look at the indentation; a value that contains a colon and a space must be in quotes.")
	case '*':
		f.Do("A value that begins with * must be in quotes, or the anchor it names must stand before it.")
	case '"', '\'', '[', '{':
		f.Do("Look for what closes it: %c is opened here.", c)
	}
	return f
}

// culprit returns the offset to show: where the library stopped, or where what it was reading begins if it ran beyond
// it in search of an end.
func culprit(src *source, e *yaml.LoadError) int {
	if e.Mark.Line == 0 {
		return max(0, bytes.IndexFunc(src.data, isControl))
	}
	at := src.offset(e.Mark.Line, max(e.Mark.Column, 1))
	if e.ContextMark.Line == 0 {
		return at
	}
	from := src.offset(e.ContextMark.Line, max(e.ContextMark.Column, 1))
	passed := from < at && bytes.IndexByte(src.data[from:at], '\n') >= 0
	opened := from < len(src.data) && strings.IndexByte(`"'[{`, src.data[from]) >= 0
	escape := at < len(src.data) && src.data[at] == '\\'
	if passed && (opened || e.Stage == yaml.ScannerStage) && !escape {
		return from
	}
	if at >= len(src.data) {
		return max(0, len(bytes.TrimRight(src.data, " \t\r\n"))-1)
	}
	return at
}

// isControl says whether a character is one that YAML does not allow.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85
}
