package graph

import "slices"

// State is where a step stands.
type State string

// The states of a step.
const (
	// Waiting for what it needs.
	Waiting State = "waiting"
	Running State = "running"
	// Parked until a time, or until people act. No worker is held.
	Parked    State = "parked"
	Succeeded State = "succeeded"
	// Skipped because its condition is false; what needs it goes on.
	Skipped State = "skipped"
	Failed  State = "failed"
	// Cancelled because another step failed before this one ended, or the run ended.
	Cancelled State = "cancelled"
)

// transitions are the ways between states. A step that runs begins again when its worker died, one that is parked when
// its time has come. What ended is never begun again, but for what an older version left; see the steps of pkg/apply.
var transitions = map[State][]State{
	Waiting: {Running, Skipped, Failed, Cancelled},
	Running: {Running, Parked, Succeeded, Failed, Cancelled},
	Parked:  {Running, Cancelled},
}

// Transitions returns the ways between states.
func Transitions() map[State][]State {
	out := map[State][]State{}
	for from, to := range transitions {
		out[from] = slices.Clone(to)
	}
	return out
}

// May says whether a step may go from one state to another.
func (s State) May(to State) bool { return slices.Contains(transitions[s], to) }

// Final says that the step has ended.
func (s State) Final() bool { return len(transitions[s]) == 0 }

// Passed says that what needs the step may go on.
func (s State) Passed() bool { return s == Succeeded || s == Skipped }
