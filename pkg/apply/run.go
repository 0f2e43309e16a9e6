package apply

import (
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Kind is what a run is for.
type Kind string

// The kinds of runs.
const (
	Deploy   Kind = "deploy"
	Rollback Kind = "rollback"
	Remove   Kind = "remove"
)

// State is where a run stands.
type State string

// The states of a run. The last four are final.
const (
	Queued     State = "queued"
	Running    State = "running"
	Succeeded  State = "succeeded"
	Failed     State = "failed"
	Superseded State = "superseded"
	Cancelled  State = "cancelled"
)

// transitions are the ways between states; docs/architecture.md draws them.
var transitions = map[State][]State{
	Queued:  {Running, Superseded, Cancelled, Failed},
	Running: {Running, Succeeded, Failed, Superseded, Cancelled},
}

// Final says that a run in this state will not change any more.
func (s State) Final() bool { return len(transitions[s]) == 0 }

// Run is one execution of a release.
type Run struct {
	ID          int64        `json:"id"`
	Application int64        `json:"-"`
	Environment string       `json:"environment"`
	Name        string       `json:"application"`
	Repository  string       `json:"repository"`
	Generation  int64        `json:"generation"`
	Kind        Kind         `json:"kind"`
	State       State        `json:"state"`
	Plan        string       `json:"plan"`
	Commit      string       `json:"commit"`
	Attempt     int          `json:"attempt"`
	Writes      int          `json:"writes"`
	Fault       *fault.Fault `json:"fault,omitempty"`
	CreatedAt   time.Time    `json:"createdAt"`
	StartedAt   *time.Time   `json:"startedAt,omitempty"`
	FinishedAt  *time.Time   `json:"finishedAt,omitempty"`
	Token       int64        `json:"-"`
}

// StepState is where a step stands.
type StepState string

// The states of a step.
const (
	StepWaiting   StepState = "waiting"
	StepRunning   StepState = "running"
	StepSucceeded StepState = "succeeded"
	StepFailed    StepState = "failed"
)

// Step is a node of a run's graph.
type Step struct {
	Run      int64     `json:"-"`
	Position int       `json:"position"`
	Name     string    `json:"name"`
	Needs    []string  `json:"needs,omitempty"`
	State    StepState `json:"state"`
	Attempt  int       `json:"attempt"`
	// Detail says what the step did, for people.
	Detail     string       `json:"detail,omitempty"`
	Fault      *fault.Fault `json:"fault,omitempty"`
	StartedAt  *time.Time   `json:"startedAt,omitempty"`
	FinishedAt *time.Time   `json:"finishedAt,omitempty"`
}

// LogLine is a line of a run's log.
type LogLine struct {
	ID      int64     `json:"id"`
	Step    string    `json:"step"`
	At      time.Time `json:"at"`
	Message string    `json:"message"`
}
