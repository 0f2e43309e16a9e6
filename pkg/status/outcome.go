package status

import (
	"fmt"
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
	// Asks is what the run asks of people, Paused that it is to be resumed.
	Asks   string `json:"asks,omitempty"`
	Paused bool   `json:"paused,omitempty"`
	// Problem is why the run failed.
	Problem *fault.Fault `json:"problem,omitempty"`
	// Behind is the run of the same application that has to end or stop first.
	Behind int64 `json:"behind,omitempty"`
	// Seconds is how long the run took, 0 until it has ended.
	Seconds float64 `json:"seconds,omitempty"`
	// Undone is the generation that a rollback made after a failure.
	Undone int64 `json:"undone,omitempty"`
	// Undoing is the state of that rollback while it has not succeeded.
	Undoing string `json:"undoing,omitempty"`
	// NotUndone is what the run did on its golden path and could not be undone.
	NotUndone *fault.Fault `json:"notUndone,omitempty"`
}

// Changes says whether there is something to tell about the application.
func (o Outcome) Changes() bool {
	return len(o.Faults) > 0 || o.Waiting != nil || o.Generation > 0 || (o.Plan != nil && !o.Plan.Empty())
}

// Failed says that it is broken: the file, or what became of it.
func (o Outcome) Failed() bool { return o.Faults.Err() != nil || o.State == "failed" }

// Together says that it was taken back because another application that it is deployed with was not deployed.
func (o Outcome) Together() bool {
	return o.Undone > 0 && o.State != "failed" && o.State != "cancelled"
}

// KeptBack says that it waits for another application that it is deployed with.
func (o Outcome) KeptBack() bool { return o.Waiting != nil && o.Waiting.Code == fault.Together }

// rank orders outcomes by how much a person has to know of them.
func (o Outcome) rank() int {
	switch {
	case o.Failed(), o.NotUndone != nil:
		return 0
	case o.Waiting != nil, o.Asks != "":
		return 1
	case o.Plan != nil && o.Plan.Summary.Stateful > 0:
		return 2
	case o.Plan != nil && o.Plan.Summary.Delete+o.Plan.Summary.Replace > 0:
		return 3
	default:
		return 4
	}
}

// matters says in a few words what a reviewer has to know first.
func (o Outcome) matters() string {
	if o.NotUndone != nil {
		return o.became() + "; ⚠️ not all of what it did is undone"
	}
	return o.became()
}

// became says in a few words what came of it, or would.
func (o Outcome) became() string {
	switch {
	case o.Faults.Err() != nil:
		errs := o.Faults.Errors()
		text := strings.TrimPrefix(fmt.Sprintf("%s: %s", errs[0].Place, errs[0].Message), ": ")
		if len(errs) > 1 {
			text = fmt.Sprintf("%s (and %d more)", clip(text, textLimit-20), len(errs)-1)
		}
		return "❌ " + text
	case o.State == "failed":
		return "❌ failed" + o.took("after") + o.undo()
	case o.Together():
		return "↩ taken back, because another application that it is deployed with was not deployed" + o.undo()
	case o.State == "succeeded" && o.Plan != nil && o.Plan.Removal():
		return "✅ removed" + o.took("in")
	case o.State == "succeeded":
		return fmt.Sprintf("✅ deployed as generation %d%s", o.Generation, o.took("in"))
	case o.State == "queued" && o.Behind > 0:
		return fmt.Sprintf("⏳ waits for run %d of the same application to stop", o.Behind)
	case o.State == "queued":
		return "⏳ waits for its turn"
	case o.Asks != "":
		return "⏸ " + o.Asks
	case o.State == "running":
		return "⏳ is being deployed"
	case o.State == "cancelled":
		return "cancelled" + o.undo()
	case o.State == "superseded":
		return "a newer commit took its place"
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

// took says how long the run was, or nothing before it has ended.
func (o Outcome) took(word string) string {
	switch {
	case o.Seconds == 0:
		return ""
	case o.Seconds < 1:
		return " " + word + " less than 1 s"
	case o.Seconds < 60:
		return fmt.Sprintf(" %s %d s", word, int(o.Seconds))
	default:
		return fmt.Sprintf(" %s %d min", word, int(o.Seconds+30)/60)
	}
}

// undo says what became of the rollback of a run that failed.
func (o Outcome) undo() string {
	switch {
	case o.Undoing == "failed":
		return fmt.Sprintf("; the rollback as generation %d failed too", o.Undone)
	case (o.Undoing == "queued" || o.Undoing == "running") && o.first():
		return fmt.Sprintf("; is being taken away as generation %d", o.Undone)
	case o.Undoing == "queued" || o.Undoing == "running":
		return fmt.Sprintf("; is being rolled back as generation %d", o.Undone)
	case o.Undone == 0 || o.Undoing != "":
		return ""
	case o.first():
		return fmt.Sprintf("; taken away as generation %d, for nothing was there before", o.Undone)
	case o.Held != "":
		return fmt.Sprintf("; rolled back as generation %d, which stays until there is a fix", o.Undone)
	default:
		return fmt.Sprintf("; rolled back as generation %d", o.Undone)
	}
}

// first says that nothing was there before.
func (o Outcome) first() bool { return o.Plan != nil && o.Plan.BaseDigest == "" }

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
