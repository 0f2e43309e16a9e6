package status

import (
	"fmt"
	"strings"
)

// table lists what changes, as far as there is room.
func (c Comment) table(b *strings.Builder, changed []Outcome) {
	if len(changed) == 0 {
		return
	}
	b.WriteString("| application | environment | + | ~ | − | what matters | |\n| --- | --- | --: | --: | --: | --- | --- |\n")
	end := b.Len() + tableBudget
	for i, o := range changed {
		row := c.row(o)
		if i == rowsLimit || b.Len()+len(row) > end {
			fmt.Fprintf(b, "| … %d more | | | | | | [all](%s/plans) |\n", len(changed)-i, c.URL)
			break
		}
		b.WriteString(row)
	}
	b.WriteString("\n")
}

func (c Comment) row(o Outcome) string {
	var links []string
	counts := " | | "
	if o.Run > 0 {
		links = append(links, fmt.Sprintf("[run %d](%s/runs/%d)", o.Run, c.URL, o.Run))
	}
	if o.Plan != nil {
		s := o.Plan.Summary
		counts = fmt.Sprintf("%s | %s | %s", number(s.Create), number(s.Update+s.Replace), number(s.Delete))
		links = append(links, c.planLink("plan "+plainID(o.Plan.ID), o.Plan))
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n",
		inline(clip(o.Application, nameLimit)), inline(clip(o.Environment, nameLimit)), counts, inline(clip(o.matters(), textLimit)), strings.Join(links, " · "))
}

// number leaves zeros out, so that the eye finds what is there.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// plainID keeps a plan's id to the characters that ids have: it stands in commands and links.
func plainID(id string) string {
	return strings.Map(func(r rune) rune {
		if ('a' <= r && r <= 'z') || ('0' <= r && r <= '9') {
			return r
		}
		return -1
	}, id[:min(len(id), 64)])
}
