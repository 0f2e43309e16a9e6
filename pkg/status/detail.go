package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
)

const (
	// sectionLeast is the least that a section needs to say something, in bytes: with less for each, fewer are shown.
	sectionLeast = 900
	// linksLimit is how many codes of errors are linked below a section.
	linksLimit = 5
)

// details writes a folded section for each outcome as long as the budget lasts, shared fairly: what one does not need
// goes to those after it.
func (c Comment) details(b *strings.Builder, changed []Outcome, budget int) {
	note := fmt.Sprintf("%%s: [all plans](%s/plans).\n\n", c.URL)
	budget -= len(note) + len("1000000000 more applications")
	shown := min(len(changed), max(0, budget-b.Len())/sectionLeast)
	missing := len(changed) - shown
	for i, o := range changed[:shown] {
		section := c.section(o, (budget-b.Len())/(shown-i))
		if b.Len()+len(section) > budget {
			missing++
			continue
		}
		b.WriteString(section)
	}
	if missing > 0 {
		fmt.Fprintf(b, note, count(missing, "more in detail", "more in detail"))
	}
}

// section says everything about one application, in at most budget bytes unless that is too little for its frame.
func (c Comment) section(o Outcome, budget int) string {
	var b strings.Builder
	open := "<details>"
	if o.Failed() || o.NotUndone != nil {
		open = "<details open>"
	}
	fmt.Fprintf(&b, "%s<summary><b>%s</b> → %s: %s</summary>\n\n", open, html(clip(o.Application, nameLimit)), html(clip(o.Environment, nameLimit)), o.title())
	budget -= len("</details>\n\n")
	if o.Problem != nil {
		faults(&b, fault.List{o.Problem}, budget)
	}
	if o.NotUndone != nil {
		faults(&b, fault.List{o.NotUndone}, budget)
	}
	if len(o.Faults) > 0 {
		faults(&b, o.Faults, budget)
	}
	if o.Plan != nil {
		block(&b, "diff", Words(o.Plan), budget-b.Len())
		c.objects(&b, o.Plan, budget)
		if len(o.Plan.Warnings) > 0 {
			faults(&b, o.Plan.Warnings, budget)
		}
	}
	b.WriteString("</details>\n\n")
	return b.String()
}

func (o Outcome) title() string {
	if o.Plan == nil {
		return count(len(o.Faults), "problem", "problems")
	}
	s := o.Plan.Summary
	parts := []string{o.generations()}
	for _, p := range []struct {
		n    int
		what string
	}{{s.Create, "added"}, {s.Update, "changed"}, {s.Replace, "replaced"}, {s.Delete, "deleted"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, " · ")
}

// generations says which release the plan leads from and to.
func (o Outcome) generations() string {
	switch {
	case o.Plan.Removal():
		return fmt.Sprintf("removal of generation %d", o.Plan.Base)
	case o.Plan.Base > 0:
		return fmt.Sprintf("generation %d → %d", o.Plan.Base, max(o.Generation, o.Plan.Base+1))
	default:
		return "first generation"
	}
}

func (c Comment) objects(b *strings.Builder, p *planner.Plan, budget int) {
	const closing = "</details>\n\n"
	opening := fmt.Sprintf("<details><summary>Kubernetes: %s</summary>\n\n", count(len(p.Objects), "object changes", "objects change"))
	var inner strings.Builder
	block(&inner, "diff", Objects(p), budget-b.Len()-len(opening)-len(closing))
	if inner.Len() > 0 {
		b.WriteString(opening + inner.String() + closing)
	}
}

// faults writes faults as they stand in a terminal, and links to what the catalogue says about their codes, which cannot
// be followed inside a block.
func faults(b *strings.Builder, list fault.List, budget int) {
	var links []string
	for _, f := range list {
		link := fmt.Sprintf("[%s](%s)", f.Code, f.Code.Link())
		if f.Code.Entry().Remedy != "" && !slices.Contains(links, link) && len(links) < linksLimit {
			links = append(links, link)
		}
	}
	help := ""
	if len(links) > 0 {
		help = "More about " + strings.Join(links, ", ") + "\n\n"
	}
	before := b.Len()
	block(b, "", PlainFaults(list), budget-before-len(help))
	if b.Len() > before && before+len(help) <= budget {
		b.WriteString(help)
	}
}

// PlainFaults returns faults as text for a fenced block or a terminal.
func PlainFaults(faults fault.List) string {
	var b strings.Builder
	_ = fault.Print(&b, faults) // a strings.Builder takes everything
	return b.String()
}

// line writes a line of a diff. What others wrote cannot break it: what follows would be read as a line of ours.
func line(b *strings.Builder, format string, args ...any) {
	b.WriteString(fault.Plain(fmt.Sprintf(format, args...)) + "\n")
}

// Words returns a plan's changes in the user's words, as the lines of a diff.
func Words(p *planner.Plan) string {
	var b strings.Builder
	for _, c := range p.Changes {
		note := ""
		if c.Stateful {
			note = "  holds data"
		}
		if c.Action != planner.Update {
			line(&b, "%s %-34s %s  %s%s", sign(c.Action), c.Part, c.Detail, place(c.At, c.Action), note)
		} else {
			line(&b, "  %s%s", c.Part, note)
		}
		for _, f := range c.Fields {
			line(&b, "%s   %-32s %s", sign(f.Action), f.Path, values(f))
		}
	}
	return b.String()
}

// Objects returns a plan's changes of Kubernetes objects, as the lines of a diff.
func Objects(p *planner.Plan) string {
	var b strings.Builder
	for _, o := range p.Objects {
		name := o.Name
		if o.Namespace != "" {
			name = o.Namespace + "/" + o.Name
		}
		if o.Action != planner.Update {
			line(&b, "%s %s %s", sign(o.Action), o.Kind, name)
			continue
		}
		line(&b, "  %s %s", o.Kind, name)
		for _, f := range o.Fields {
			line(&b, "%s   %s: %s", sign(f.Action), f.Path, values(f))
		}
	}
	return b.String()
}

func values(f planner.Field) string {
	switch f.Action {
	case planner.Create:
		return strings.TrimSpace(f.After + "  " + place(f.AfterAt, f.Action))
	case planner.Delete:
		return strings.TrimSpace(f.Before + "  " + place(f.BeforeAt, f.Action))
	default:
		text := f.Before + " → " + f.After
		if f.AfterAt.Line > 0 {
			text += "  " + f.AfterAt.String()
			if f.BeforeAt.Line > 0 && f.BeforeAt != f.AfterAt {
				text += " (was " + f.BeforeAt.String() + ")"
			}
		}
		return text
	}
}

func place(p fault.Place, a planner.Action) string {
	if p.Line == 0 {
		return ""
	}
	if a == planner.Delete {
		return "was " + p.String()
	}
	return p.String()
}

func sign(a planner.Action) string {
	switch a {
	case planner.Create:
		return "+"
	case planner.Delete:
		return "-"
	case planner.Update, planner.Replace:
		return "!"
	default:
		return " "
	}
}
