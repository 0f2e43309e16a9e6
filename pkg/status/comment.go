package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
)

// Outcome is what a pull request or a merged revision means for one application in one environment.
type Outcome struct {
	Application string `json:"application"`
	Environment string `json:"environment"`
	Path        string `json:"path"`
	// Plan is nil if there is none, because of Faults.
	Plan   *planner.Plan `json:"plan,omitempty"`
	Faults fault.List    `json:"faults,omitempty"`
	// Waiting says why a person is needed before it is applied.
	Waiting *fault.Fault `json:"waiting,omitempty"`
	// Held says why nothing is deployed by itself.
	Held string `json:"held,omitempty"`
	// Generation is what the plan became after the merge; 0 before it.
	Generation int64 `json:"generation,omitempty"`
	// State is the run's state after the merge: "" if there is no run (yet).
	State string `json:"state,omitempty"`
	Run   int64  `json:"run,omitempty"`
	// Problem is why the run failed.
	Problem *fault.Fault `json:"problem,omitempty"`
	// Undone is the generation that was applied again after a failure.
	Undone int64 `json:"undone,omitempty"`
}

// Changes says whether there is something to tell about the application.
func (o Outcome) Changes() bool {
	return len(o.Faults) > 0 || o.Waiting != nil || o.Generation > 0 || (o.Plan != nil && !o.Plan.Empty())
}

// Failed says that it is broken: the file, or what became of it.
func (o Outcome) Failed() bool { return o.Faults.Err() != nil || o.State == "failed" }

// Comment is what the comment of a pull request says.
type Comment struct {
	// Marker is the hidden line by which we know our comment.
	Marker   string
	Instance string
	// URL is the server's address, without a slash at the end.
	URL string
	// Base, Head and Merge are commits; Merge is set once the pull request is merged.
	Base, Head, Merge string
	Platform          string
	Outcomes          []Outcome
	// Conflicts are the paths that the base branch and the pull request both changed.
	Conflicts []string
}

const (
	// commentBudget keeps a comment below every forge's limit (GitHub: 65,536 characters), in bytes.
	commentBudget = 60_000
	// tailBudget is kept for what follows the details.
	tailBudget = 2_000
)

// Render returns the comment as Markdown of at most [commentBudget] bytes. The same comment gives the same bytes.
func (c Comment) Render() string {
	changed, unchanged := c.split()
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### %s\n\n", c.Marker, c.verdict(changed, len(changed)+unchanged))
	if advice := c.advice(changed); advice != "" {
		fmt.Fprintf(&b, "%s\n\n", advice)
	}
	fmt.Fprintf(&b, "<sub>%s</sub>\n\n", c.identity())
	if len(changed) > 0 {
		c.table(&b, changed)
	}
	if unchanged > 0 {
		fmt.Fprintf(&b, "%s.\n\n", count(unchanged, "application does not change", "applications do not change"))
	}
	c.details(&b, changed, commentBudget-tailBudget)
	c.tail(&b, changed)
	return b.String()
}

// split returns the outcomes that there is something to say about, failures and deletions first, and counts the others.
func (c Comment) split() (changed []Outcome, unchanged int) {
	for _, o := range c.Outcomes {
		if o.Changes() {
			changed = append(changed, o)
		} else {
			unchanged++
		}
	}
	rank := func(o Outcome) int {
		switch {
		case o.Failed():
			return 0
		case o.Waiting != nil:
			return 1
		case o.Plan != nil && o.Plan.Summary.Delete > 0:
			return 2
		default:
			return 3
		}
	}
	slices.SortStableFunc(changed, func(a, b Outcome) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Application, b.Application))
	})
	return changed, unchanged
}

func (c Comment) verdict(changed []Outcome, all int) string {
	failed, sum := 0, planner.Summary{}
	finished, running := 0, 0
	for _, o := range changed {
		if o.Failed() {
			failed++
		}
		switch o.State {
		case "succeeded":
			finished++
		case "queued", "running":
			running++
		}
		if o.Plan != nil {
			sum = sum.Add(o.Plan.Summary)
		}
	}
	parts := []string{fmt.Sprintf("%d of %s", len(changed), count(all, "application changes", "applications change"))}
	icon := "🟢"
	switch {
	case len(c.Conflicts) > 0:
		return "🔴 The pull request conflicts with its base branch"
	case failed > 0:
		icon, parts = "🔴", append(parts, fmt.Sprintf("**%d failed**", failed))
	case c.Merge != "" && running > 0:
		icon, parts = "🔵", append(parts, fmt.Sprintf("%d of %d deployed", finished, len(changed)))
	case c.Merge != "":
		parts = append(parts, fmt.Sprintf("%d of %d deployed", finished, len(changed)))
	case len(changed) == 0:
		return fmt.Sprintf("🟢 Nothing changes: 0 of %s affected", count(all, "application is", "applications are"))
	case sum.Delete+sum.Replace > 0:
		icon = "🟡"
	}
	if sum != (planner.Summary{}) {
		parts = append(parts, "**"+signed(sum)+"**")
	}
	if sum.Stateful > 0 {
		parts = append(parts, count(sum.Stateful, "stateful deletion", "stateful deletions"))
	}
	return icon + " " + strings.Join(parts, " · ")
}

func signed(s planner.Summary) string {
	return fmt.Sprintf("+%d ~%d −%d", s.Create, s.Update+s.Replace, s.Delete)
}

// advice says whether it may be merged and what happens then.
func (c Comment) advice(changed []Outcome) string {
	var waits, fails []string
	for _, o := range changed {
		if o.Waiting != nil {
			waits = append(waits, fmt.Sprintf("%s in **%s**: %s", code(o.Application), inline(o.Environment), inline(o.Waiting.Message)))
		}
		if o.Faults.Err() != nil {
			fails = append(fails, code(o.Application))
		}
	}
	var lines []string
	if len(c.Conflicts) > 0 {
		lines = append(lines, "Resolve the conflicts first; the plan is made of the merge's result. Files: "+codes(c.Conflicts)+".")
	}
	if len(fails) > 0 && c.Merge == "" {
		lines = append(lines, "Do not merge yet: "+strings.Join(slices.Compact(fails), ", ")+" cannot be deployed as it is. What runs now keeps running.")
	}
	for _, w := range waits {
		lines = append(lines, "Waits for a confirmation: "+w+".")
	}
	if len(lines) == 0 && c.Merge == "" && len(changed) > 0 {
		lines = append(lines, "Merging deploys this.")
	}
	return strings.Join(lines, "\n")
}

func (c Comment) identity() string {
	parts := []string{"base " + code(short(c.Base)), "head " + code(short(c.Head))}
	if c.Merge != "" {
		parts = append(parts, "merge "+code(short(c.Merge)))
	}
	if c.Platform != "" {
		parts = append(parts, "platform "+code(short(c.Platform)))
	}
	return strings.Join(append(parts, inline(c.Instance)), " · ")
}

// rows is the longest table: beyond it, the page of the revision has the rest.
const rows = 100

func (c Comment) table(b *strings.Builder, changed []Outcome) {
	b.WriteString("| application | environment | + | ~ | − | what matters | |\n| --- | --- | --: | --: | --: | --- | --- |\n")
	for i, o := range changed {
		if i == rows {
			fmt.Fprintf(b, "| %s | | | | | | |\n", count(len(changed)-rows, "more", "more"))
			break
		}
		var s planner.Summary
		link := ""
		if o.Plan != nil {
			s = o.Plan.Summary
			link = fmt.Sprintf("[plan](%s/plans/%s)", c.URL, o.Plan.ID)
		}
		if o.Run > 0 {
			link = fmt.Sprintf("[run](%s/runs/%d)", c.URL, o.Run)
		}
		fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %s | %s |\n", cell(o.Application), cell(o.Environment),
			s.Create, s.Update+s.Replace, s.Delete, cell(o.matters()), link)
	}
	b.WriteString("\n")
}

// matters says in a few words what a reviewer has to know first.
func (o Outcome) matters() string {
	switch {
	case o.Faults.Err() != nil:
		f := o.Faults.Errors()[0]
		return fmt.Sprintf("❌ %s: %s", f.Place, f.Message)
	case o.State == "failed" && o.Undone > 0:
		return fmt.Sprintf("❌ failed, generation %d applied again", o.Undone)
	case o.State == "failed":
		return "❌ failed"
	case o.State == "succeeded":
		return fmt.Sprintf("✅ deployed as generation %d", o.Generation)
	case o.State != "":
		return o.State
	case o.Waiting != nil:
		return "⏸ " + o.Waiting.Message
	case o.Held != "":
		return "⏸ on hold: " + o.Held
	case o.Plan != nil:
		return highlight(o.Plan)
	default:
		return ""
	}
}

func highlight(p *planner.Plan) string {
	switch {
	case p.Removal():
		return "⚠️ removes the application"
	case p.Base == 0:
		return "first deployment"
	}
	for _, c := range p.Changes {
		if c.Stateful {
			return fmt.Sprintf("⚠️ %ss %s (%s), which holds data", c.Action, strings.TrimPrefix(c.Part, "resources."), c.Detail)
		}
	}
	for _, c := range p.Changes {
		for _, f := range c.Fields {
			if f.Path == "image" {
				return fmt.Sprintf("image %s → %s", f.Before, f.After)
			}
		}
	}
	if len(p.Changes) == 0 {
		return count(len(p.Objects), "object changes", "objects change") + " by the platform's configuration"
	}
	return ""
}

// tail says what follows and what a person may do.
func (c Comment) tail(b *strings.Builder, changed []Outcome) {
	switch {
	case c.Merge != "" && len(changed) > 0:
		b.WriteString("To undo: revert the merge commit, or `reconciler rollback APP`.\n\n")
	case c.Merge == "" && len(changed) > 0:
		b.WriteString("After the merge this comment becomes the record of the deployment. To undo: revert the merge commit.\n\n")
	}
	fmt.Fprintf(b, "<sub>reconciler · %s</sub>\n", inline(c.Instance))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func short(commit string) string { return commit[:min(len(commit), 7)] }

func codes(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = code(s)
	}
	return strings.Join(out, ", ")
}
