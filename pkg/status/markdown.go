package status

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/innominatus/reconciler/pkg/fault"
)

// block writes a fenced code block of at most limit bytes. The fence is longer than any run of backticks in the text, so
// that nothing in it can end the block.
func block(b *strings.Builder, language, text string, limit int) {
	text = cleanLines(text)
	if text == "" {
		return
	}
	fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
	limit -= 2*len(fence) + len(language) + len("\n\n\n\n")
	if len(text) > limit {
		text = shorten(text, limit)
	}
	if text != "" {
		fmt.Fprintf(b, "%s%s\n%s%s\n\n", fence, language, text, fence)
	}
}

// shorten cuts a text after whole lines and says how many are missing.
func shorten(text string, limit int) string {
	const note = "… %d more lines\n"
	limit -= len(note) + 8
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	kept, size := 0, 0
	for kept < len(lines) && size+len(lines[kept]) <= limit {
		size += len(lines[kept])
		kept++
	}
	if limit <= 0 {
		return ""
	}
	return strings.Join(lines[:kept], "") + fmt.Sprintf(note, len(lines)-kept)
}

// lineLimit is the longest line of a block, in bytes: longer ones are never read.
const lineLimit = 500

// cleanLines takes control and direction characters out of each line and shortens long ones.
func cleanLines(text string) string {
	if text == "" {
		return ""
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		line = fault.Plain(line)
		if len(line) > lineLimit {
			end := lineLimit
			for !utf8.RuneStart(line[end]) {
				end--
			}
			line = line[:end] + "…"
		}
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func longestRun(s string, c byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != c {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// markdown are the characters that mean something in Markdown or HTML, with what shows them as they are. A zero-width
// joiner keeps names, numbers and addresses from becoming mentions and links.
var markdown = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "|", `\|`,
	"!", "\\!"+joiner, "~", `\~`, "$", `\$`, "@", "@"+joiner, "#", "#"+joiner, "://", ":"+joiner+"//",
	"GH-", "GH"+joiner+"-", "gh-", "gh"+joiner+"-", "www.", "www"+joiner+".",
)

const joiner = "\u200d"

// inline returns text so that it reads the same in Markdown and does nothing.
func inline(s string) string { return markdown.Replace(fault.Plain(s)) }

// code returns text as inline code.
func code(s string) string {
	s = fault.Plain(s)
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || s == "" {
		s = " " + s + " "
	}
	return fence + s + fence
}

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "@", "@"+joiner, "#", "#"+joiner,
	"!", "!"+joiner, "://", ":"+joiner+"//", "GH-", "GH"+joiner+"-", "gh-", "gh"+joiner+"-", "www.", "www"+joiner+".")

// html returns text for use inside HTML elements.
func html(s string) string { return htmlEscapes.Replace(fault.Plain(s)) }
