package status

import (
	"fmt"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
)

// details writes a folded section for each outcome as long as the budget lasts, shared fairly: what one does not need
// goes to those after it.
func (c Comment) details(b *strings.Builder, changed []Outcome, budget int) {
	for i, o := range changed {
		share := (budget - b.Len()) / (len(changed) - i)
		section := c.section(o, share)
		if b.Len()+len(section) > budget {
			fmt.Fprintf(b, "%s: [all plans](%s/plans).\n\n", count(len(changed)-i, "more application", "more applications"), c.URL)
			return
		}
		b.WriteString(section)
	}
}

func (c Comment) section(o Outcome, budget int) string {
	var b strings.Builder
	title := fmt.Sprintf("<details><summary><b>%s</b> → %s", html(o.Application), html(o.Environment))
	switch {
	case o.Plan == nil:
		title += ": " + count(len(o.Faults), "problem", "problems")
	case o.Plan.Base == 0:
		title += ": first generation"
	default:
		title += fmt.Sprintf(": generation %d → %d", o.Plan.Base, max(o.Generation, o.Plan.Base+1))
	}
	if o.Plan != nil {
		title += " · " + o.Plan.Summary.String()
	}
	if o.Failed() {
		title = strings.Replace(title, "<details>", "<details open>", 1)
	}
	b.WriteString(title + "</summary>\n\n")
	budget -= b.Len() + len("</details>\n\n")
	if o.Problem != nil {
		block(&b, "", PlainFaults(fault.List{o.Problem}), budget-b.Len())
	}
	if len(o.Faults) > 0 {
		block(&b, "", PlainFaults(o.Faults), budget-b.Len())
	}
	if o.Plan != nil {
		block(&b, "diff", Words(o.Plan), budget-b.Len())
		if len(o.Plan.Objects) > 0 {
			fmt.Fprintf(&b, "<details><summary>Kubernetes: %s</summary>\n\n", count(len(o.Plan.Objects), "object changes", "objects change"))
			block(&b, "diff", Objects(o.Plan), budget-b.Len()-len("</details>\n\n"))
			b.WriteString("</details>\n\n")
		}
		if len(o.Plan.Warnings) > 0 {
			block(&b, "", PlainFaults(o.Plan.Warnings), budget-b.Len())
		}
	}
	b.WriteString("</details>\n\n")
	return b.String()
}

// PlainFaults returns faults as text for a fenced block or a terminal.
func PlainFaults(faults fault.List) string {
	var b strings.Builder
	_ = fault.Print(&b, faults) // a strings.Builder takes everything
	return b.String()
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
			fmt.Fprintf(&b, "%s %-34s %s  %s%s\n", sign(c.Action), c.Part, c.Detail, place(c.At, c.Action), note)
		} else {
			fmt.Fprintf(&b, "  %s%s\n", c.Part, note)
		}
		for _, f := range c.Fields {
			fmt.Fprintf(&b, "%s   %-32s %s\n", sign(f.Action), f.Path, values(f))
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
			fmt.Fprintf(&b, "%s %s %s\n", sign(o.Action), o.Kind, name)
			continue
		}
		fmt.Fprintf(&b, "  %s %s\n", o.Kind, name)
		for _, f := range o.Fields {
			fmt.Fprintf(&b, "%s   %s: %s\n", sign(f.Action), f.Path, values(f))
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
