package score

import (
	"bytes"
	"strings"
)

// isScore says whether an apiVersion is one of Score's, known or not.
func isScore(apiVersion string) bool { return strings.HasPrefix(apiVersion, "score.dev/") }

// Detect says whether a file holds a Score document: one with an apiVersion of score.dev and without a kind. It looks
// at the lines and reads no YAML, so that a whole repository can be searched; a document in braces is read.
func Detect(data []byte) bool {
	if len(data) > maxSize || !bytes.Contains(data, []byte("score.dev/")) {
		return false
	}
	doc := detector{indent: -1}
	for line := range bytes.Lines(bytes.TrimPrefix(data, byteOrderMark)) {
		text := strings.TrimRight(string(line), " \t\r\n")
		if text == "---" || strings.HasPrefix(text, "--- ") || text == "..." {
			if doc.found() {
				return true
			}
			doc = detector{indent: -1}
			continue
		}
		doc.line(text)
		if doc.flow {
			return detectParsed(data)
		}
	}
	return doc.found()
}

// detector looks at the lines of one document.
type detector struct {
	// indent is that of the document's keys; -1 before the first.
	indent              int
	score, kinded, flow bool
}

func (d *detector) found() bool { return d.score && !d.kinded }

func (d *detector) line(text string) {
	body := strings.TrimLeft(text, " ")
	if body == "" || body[0] == '#' || body[0] == '%' {
		return
	}
	if d.indent < 0 {
		d.indent = len(text) - len(body)
		d.flow = body[0] == '{'
	}
	if len(text)-len(body) != d.indent {
		return
	}
	key, value, found := strings.Cut(body, ":")
	if !found {
		return
	}
	switch strings.Trim(key, `"' `) {
	case "apiVersion":
		d.score = isScore(strings.TrimLeft(value, ` "'`))
	case "kind":
		d.kinded = true
	}
}

func detectParsed(data []byte) bool {
	r := &report{}
	for _, doc := range r.documents(newSource(Source{Data: data})) {
		if isScore(doc.Get("apiVersion").text()) && doc.Get("kind") == nil {
			return true
		}
	}
	return false
}
