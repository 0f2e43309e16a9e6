package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
)

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
	// Time is when the newest of what is told became so, never when it was rendered: telling the same again must give the
	// same bytes. The zero time is left out.
	Time     time.Time
	Outcomes []Outcome
	// Conflicts are the paths that the base branch and the pull request both changed.
	Conflicts []string
	// Closed says that the pull request was closed without a merge.
	Closed bool
	// Problem is why there is no plan at all.
	Problem *fault.Fault
	// Redact takes secrets out of texts before they are escaped and shortened; nil keeps them as they are.
	Redact func(string) string
}

const (
	// commentBudget keeps a comment below every forge's limit (GitHub: 65,536 characters), in bytes.
	commentBudget = 60_000
	// tableBudget is what the table may take of it, so that there is room for details; the table is read first.
	tableBudget = 24_000
	// tailBudget is kept for what follows the details, and for what [Outdated] puts above.
	tailBudget = 5_000
	// rowsLimit is the longest table: nobody reads more, and the pages of the server have the rest.
	rowsLimit = 100
	// linesLimit is how many applications are named in what is said above the table.
	linesLimit = 10
	// plansLimit is how many plans, or runs, are linked in a line; the table links all.
	plansLimit = 3
	// nameLimit is the longest name, in characters; names of applications have 63 at most, paths more.
	nameLimit = 120
	// textLimit is the longest sentence of somebody else's, in characters.
	textLimit = 200
)

// Render returns the comment as Markdown of at most [commentBudget] bytes. The same comment gives the same bytes.
func (c Comment) Render() string {
	if c.Redact != nil {
		c.Outcomes = slices.Clone(c.Outcomes)
		for i, o := range c.Outcomes {
			c.Outcomes[i] = o.redacted(c.Redact)
		}
		c.Problem = redactedFault(c.Problem, c.Redact)
	}
	changed, unchanged := c.split()
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### %s\n\n", c.Marker, c.verdict(changed))
	if advice := c.advice(changed); len(advice) > 0 {
		fmt.Fprintf(&b, "%s\n\n", strings.Join(advice, "\n"))
	}
	fmt.Fprintf(&b, "<sub>%s</sub>\n\n", c.identity(changed))
	if c.Problem != nil {
		faults(&b, fault.List{c.Problem}, commentBudget-tailBudget)
	}
	c.table(&b, changed)
	if len(changed) > 0 && unchanged > 0 {
		fmt.Fprintf(&b, "%s.\n\n", count(unchanged, "application does not change", "applications do not change"))
	}
	c.details(&b, changed, commentBudget-tailBudget)
	c.tail(&b, changed)
	return b.String()
}

// split returns the outcomes that there is something to say about, failures and deletions first, and counts the
// applications of the others.
func (c Comment) split() (changed []Outcome, unchanged int) {
	for _, o := range c.Outcomes {
		if o.Changes() {
			changed = append(changed, o)
		}
	}
	slices.SortStableFunc(changed, func(a, b Outcome) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Application, b.Application))
	})
	return changed, applications(c.Outcomes) - applications(changed)
}

// applications counts applications, each once in however many environments it is.
func applications(outcomes []Outcome) int {
	names := map[string]bool{}
	for _, o := range outcomes {
		names[o.Application] = true
	}
	return len(names)
}

// tally counts what a verdict is made of.
type tally struct {
	invalid, failed, left, undone, asking, waiting, kept, held, running, done, cancelled, superseded int
	sum                                                                                              planner.Summary
}

func tallyOf(changed []Outcome) (t tally) {
	for _, o := range changed {
		if o.NotUndone != nil {
			t.left++
		}
		switch {
		case o.Faults.Err() != nil:
			t.invalid++
		case o.State == "failed":
			t.failed++
		case o.Together():
			t.undone++
		case o.State == "succeeded":
			t.done++
		case o.Asks != "":
			t.asking++
		case o.State == "queued" || o.State == "running":
			t.running++
		case o.State == "cancelled":
			t.cancelled++
		case o.State == "superseded":
			t.superseded++
		case o.KeptBack():
			t.kept++
		case o.Waiting != nil:
			t.waiting++
		case o.Held != "":
			t.held++
		}
		if o.Plan != nil {
			t.sum = t.sum.Add(o.Plan.Summary)
		}
	}
	return t
}

// verdict is the one line that everybody reads.
func (c Comment) verdict(changed []Outcome) string {
	t, all := tallyOf(changed), applications(c.Outcomes)
	if c.Closed {
		return "⚪ Closed without a merge: nothing of it was deployed"
	}
	if len(c.Conflicts) > 0 {
		return "🔴 The pull request conflicts with its base branch"
	}
	if c.Problem != nil {
		return "🔴 The pull request could not be planned"
	}
	if len(changed) == 0 {
		return fmt.Sprintf("🟢 Nothing changes: 0 of %s affected", count(all, "application is", "applications are"))
	}
	var parts []string
	icon := "🟢"
	if c.Merge != "" {
		icon, parts = c.progress(t, len(changed))
	} else {
		parts = []string{fmt.Sprintf("%d of %s", applications(changed), count(all, "application changes", "applications change"))}
		if t.invalid > 0 {
			icon, parts = "🔴", append(parts, fmt.Sprintf("**%d cannot be deployed**", t.invalid))
		} else if t.sum.Delete+t.sum.Replace > 0 || t.waiting+t.kept+t.held > 0 {
			icon = "🟡"
		}
	}
	if t.sum != (planner.Summary{}) {
		parts = append(parts, "**"+signed(t.sum)+"**")
	}
	if t.sum.Stateful > 0 {
		parts = append(parts, "⚠️ "+count(t.sum.Stateful, "stateful deletion", "stateful deletions"))
	}
	return icon + " " + strings.Join(parts, " · ")
}

// progress says how far the deployment of a merge is.
func (c Comment) progress(t tally, all int) (icon string, parts []string) {
	for _, p := range []struct {
		n    int
		what string
	}{
		{t.failed, "**%d failed**"}, {t.invalid, "**%d cannot be deployed**"}, {t.left, "**%d not undone**"}, {t.undone, "%d taken back with it"}, {t.asking, "%d waiting for people"},
		{t.waiting, "%d waiting for a confirmation"}, {t.kept, "%d waiting for others"},
		{t.held, "%d on hold"}, {t.running, "%d in progress"}, {t.cancelled, "%d cancelled"}, {t.superseded, "%d replaced by a newer commit"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf(p.what, p.n))
		}
	}
	done := fmt.Sprintf("%d of %d deployed", t.done, all)
	switch {
	case t.failed+t.invalid+t.left > 0:
		icon = "🔴"
	case t.running > 0:
		icon = "🔵"
	case t.asking+t.waiting+t.kept+t.held+t.cancelled > 0:
		icon = "🟡"
	case t.superseded > 0:
		icon = "⚪"
	default:
		icon = "🟢"
	}
	return icon, append([]string{done}, parts...)
}

func signed(s planner.Summary) string {
	return fmt.Sprintf("+%d ~%d −%d", s.Create, s.Update+s.Replace, s.Delete)
}

// advice says whether it may be merged and what happens then, or what is to be done after the merge, one fact per line.
func (c Comment) advice(changed []Outcome) []string {
	if c.Closed {
		return nil
	}
	if len(c.Conflicts) > 0 {
		return []string{"Do not merge yet: the plan is made of the merge's result, and there is none. Resolve the conflicts in " + codes(c.Conflicts) + "."}
	}
	if c.Problem != nil {
		return []string{"Do not merge yet: what the merge would do is not known. It is planned again with the next commit, or when somebody writes `/plan`."}
	}
	if len(changed) == 0 {
		return []string{"This pull request changes nothing that is deployed from here."}
	}
	var invalid, failed, lines []string
	quiet := 0 // how many are deployed without anybody doing anything
	for _, o := range changed {
		if o.NotUndone != nil {
			lines = append(lines, fmt.Sprintf("- What %s did is not undone: `reconciler jobs retry JOB` tries it again; `reconciler jobs --kind undo --state dead` names the job.", o.name()))
		}
		switch {
		case o.Faults.Err() != nil:
			invalid = append(invalid, o.name())
		case o.State == "failed":
			failed = append(failed, o.name())
		case o.Asks != "":
			lines = append(lines, asks(o))
		case o.State != "":
		case o.Waiting != nil:
			lines = append(lines, c.waits(o))
		case o.Held != "":
			lines = append(lines, fmt.Sprintf("- %s is on hold (%s) and is not deployed until %s lifts it.", o.name(), inline(clip(o.Held, textLimit)),
				code("reconciler resume "+clip(o.Application, nameLimit))))
		default:
			quiet++
		}
	}
	more := max(0, len(lines)-linesLimit)
	lines = lines[:len(lines)-more]
	if more > 0 {
		lines = append(lines, fmt.Sprintf("- … and %d more, see the table.", more))
	}
	return append(c.ask(invalid, failed, quiet, len(lines) > 0), lines...)
}

// ask is the first sentence of the advice.
func (c Comment) ask(invalid, failed []string, quiet int, others bool) []string {
	switch {
	case c.Merge == "" && len(invalid) > 0:
		return []string{"**Do not merge yet**: " + some(invalid) + " cannot be deployed as written; the reasons are below. What runs now keeps running."}
	case len(failed) > 0 || len(invalid) > 0:
		return []string{"**Somebody has to act**: " + some(append(failed, invalid...)) + " did not get there; the reasons are below. Fix forward with a new commit, or revert the merge."}
	case c.Merge == "" && others && quiet > 0:
		return []string{fmt.Sprintf("Merging is possible and deploys %s. The others need somebody:", count(quiet, "change", "changes"))}
	case c.Merge == "" && others:
		return []string{"Merging is possible; somebody is needed before it is deployed:"}
	case c.Merge == "":
		return []string{"Merging is possible and deploys this."}
	case others:
		return []string{"Somebody is needed:"}
	default:
		return nil
	}
}

func (c Comment) waits(o Outcome) string {
	if o.KeptBack() {
		return fmt.Sprintf("- %s is deployed as soon as others are: %s.", o.name(), inline(clip(o.Waiting.Message, textLimit)))
	}
	line := fmt.Sprintf("- %s waits for a confirmation: %s.", o.name(), inline(clip(o.Waiting.Message, textLimit)))
	if o.Plan != nil {
		line += fmt.Sprintf(" If this is meant: `reconciler plans confirm %s`", plainID(o.Plan.ID))
		if c.Merge == "" {
			line += " after the merge"
		}
		line += "."
	}
	return line
}

// name is how an application is called in a sentence.
func (o Outcome) name() string {
	return fmt.Sprintf("%s in **%s**", code(clip(o.Application, nameLimit)), inline(clip(o.Environment, nameLimit)))
}

func (c Comment) identity(changed []Outcome) string {
	var parts []string
	add := func(what, id string) {
		if id != "" {
			parts = append(parts, what+" "+code(short(id)))
		}
	}
	add("base", c.Base)
	add("head", c.Head)
	add("merge", c.Merge)
	parts = append(parts, c.plans(changed)...)
	add("platform", c.Platform)
	if !c.Time.IsZero() {
		parts = append(parts, c.Time.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return strings.Join(parts, " · ")
}

// plans says which plans are shown: one with its generation, several by their ids, for which the table and the sections
// have the rest.
func (c Comment) plans(changed []Outcome) []string {
	var links []string
	var one Outcome
	for _, o := range changed {
		if o.Plan != nil {
			links, one = append(links, c.planLink(code(plainID(o.Plan.ID)), o.Plan)), o
		}
	}
	switch len(links) {
	case 0:
		return nil
	case 1:
		return []string{"plan " + links[0], one.generations()}
	default:
		return []string{"plans " + few(links)}
	}
}

func (c Comment) planLink(text string, p *planner.Plan) string {
	return fmt.Sprintf("[%s](%s/plans/%s)", text, c.URL, plainID(p.ID))
}

// tail says what a merge does, how to undo it, and what a person may do now.
func (c Comment) tail(b *strings.Builder, changed []Outcome) {
	app := "APP"
	if applications(changed) == 1 {
		app = clip(changed[0].Application, nameLimit)
	}
	can := []string{"`/plan` for a new plan"}
	switch {
	case c.Merge != "" && len(changed) > 0:
		fmt.Fprintf(b, "To undo: revert the merge commit, or %s, which also holds the application.\n\n", code("reconciler rollback "+app))
		can = commandsAfter(tallyOf(changed), app)
	case c.Merge != "" || c.Closed:
		can = nil
	case len(changed) > 0 && len(c.Conflicts) == 0 && c.Problem == nil:
		fmt.Fprintf(b, "**After the merge** the applications are deployed side by side. What is being deployed already ends or stops first%s."+
			" This comment becomes the record. To undo it then: revert the merge commit.\n\n", c.inTheWay(changed))
		can = append(can, code("reconciler hold "+app)+" before the merge, so that nothing is deployed", "`reconciler plan` on your machine")
	}
	parts := []string{"reconciler, " + inline(clip(c.Instance, nameLimit))}
	if len(can) > 0 {
		parts = append([]string{"You can: " + can[0]}, append(can[1:], parts...)...)
	}
	fmt.Fprintf(b, "<sub>%s</sub>\n", strings.Join(parts, " · "))
}

// inTheWay names some of the runs that go on now.
func (c Comment) inTheWay(changed []Outcome) string {
	var runs []string
	for _, o := range changed {
		if o.Behind > 0 {
			runs = append(runs, fmt.Sprintf("[run %d](%s/runs/%d)", o.Behind, c.URL, o.Behind))
		}
	}
	if len(runs) == 0 {
		return ""
	}
	return ": " + few(runs)
}

// commandsAfter are those that make sense after a merge with what came of it.
func commandsAfter(t tally, app string) []string {
	var can []string
	if t.failed+t.cancelled > 0 {
		can = append(can, code("reconciler retry "+app))
	}
	if t.held+t.failed+t.cancelled > 0 {
		can = append(can, code("reconciler resume "+app))
	}
	return append(can, code("reconciler hold "+app), "`reconciler logs RUN`")
}

// Outdated returns a rendered comment with a banner above it that says why it is not the newest. A banner that stands
// there makes way.
func Outdated(body, why string) string {
	marker, rest, _ := strings.Cut(body, "\n")
	if i := strings.Index(rest, "### "); i > 0 {
		rest = rest[i:]
	}
	return fmt.Sprintf("%s\n> ⏳ **Out of date**: %s\n\n%s", marker, inline(clip(why, textLimit)), rest)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// short is how people write a commit or a digest.
func short(id string) string {
	runes := []rune(id)
	return string(runes[:min(len(runes), 7)])
}

// some names those that people have to know, and counts the others.
func some(names []string) string { return atMost(linesLimit, slices.Compact(names)) }

// few links some things, and counts the others.
func few(links []string) string { return atMost(plansLimit, links) }

func atMost(limit int, list []string) string {
	if len(list) <= limit {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:limit], ", "), len(list)-limit)
}

func codes(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = code(clip(s, nameLimit))
	}
	return some(out)
}

// asks says what a run asks of people, and how they answer.
func asks(o Outcome) string {
	if o.Paused {
		return fmt.Sprintf("- %s is %s: `reconciler runs resume %d` lets it go on.", o.name(), inline(clip(o.Asks, textLimit)), o.Run)
	}
	return fmt.Sprintf("- %s waits for %s `reconciler approve %d` or `reconciler reject %d` answers.", o.name(), inline(clip(o.Asks, textLimit)), o.Run, o.Run)
}
