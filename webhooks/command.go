package webhooks

import (
	"regexp"
	"strings"
)

// command is a line of a comment that asks us for something: /name argument argument
type command struct {
	name      string
	arguments []string
}

const (
	// commandsLimit is how many commands of one comment are read.
	commandsLimit = 10
	// commandLine is the longest line that can be a command, in bytes.
	commandLine = 500
)

// commandPattern is a whole line: a slash, a word, and arguments after white space. A path such as /etc/hosts is none.
var commandPattern = regexp.MustCompile(`^/([a-z][a-z-]{0,30})(\s.*)?$`)

// ownMark stands in every comment that we write.
const ownMark = "<!-- reconciler:v1 "

// commands returns what a comment asks for. Lines that are quoted or in code blocks say what somebody else wrote and ask
// for nothing, and so does a comment of ours, whatever stands in it.
func commands(body string) []command {
	if strings.Contains(body, ownMark) {
		return nil
	}
	var out []command
	fence := ""
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n \t")
		if mark := fenceOf(line); mark != "" {
			switch {
			case fence == "":
				fence = mark
			case strings.HasPrefix(mark, fence):
				fence = ""
			}
			continue
		}
		if fence != "" || len(line) > commandLine || len(out) == commandsLimit {
			continue
		}
		if m := commandPattern.FindStringSubmatch(line); m != nil {
			out = append(out, command{name: m[1], arguments: strings.Fields(m[2])})
		}
	}
	return out
}

// fenceOf returns the backticks or tildes that begin or end a code block on this line, or "".
func fenceOf(line string) string {
	line = strings.TrimLeft(line, " ")
	for _, c := range []string{"`", "~"} {
		if n := len(line) - len(strings.TrimLeft(line, c)); n >= 3 {
			return line[:n]
		}
	}
	return ""
}
