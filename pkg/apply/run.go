package apply

import (
	"maps"
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

// transitions are the ways between states. A run begins again whenever its job does.
var transitions = map[State][]State{
	Queued:  {Running, Superseded, Cancelled, Failed},
	Running: {Running, Succeeded, Failed, Superseded, Cancelled},
}

// Transitions returns the ways between the states of a run.
func Transitions() map[State][]State { return maps.Clone(transitions) }

// Final says that a run in this state will not change any more.
func (s State) Final() bool { return len(transitions[s]) == 0 }

// Run is one execution of a release.
type Run struct {
	ID          int64  `json:"id"`
	Application int64  `json:"-"`
	Environment string `json:"environment"`
	Name        string `json:"application"`
	Repository  string `json:"repository"`
	Generation  int64  `json:"generation"`
	Kind        Kind   `json:"kind"`
	State       State  `json:"state"`
	Plan        string `json:"plan"`
	Commit      string `json:"commit"`
	// Attempt is how often it was begun because the attempt before was broken off; to wait and go on is the same attempt.
	Attempt    int          `json:"attempt"`
	Writes     int          `json:"writes"`
	Fault      *fault.Fault `json:"fault,omitempty"`
	CreatedAt  time.Time    `json:"createdAt"`
	StartedAt  *time.Time   `json:"startedAt,omitempty"`
	FinishedAt *time.Time   `json:"finishedAt,omitempty"`
	// Waits is what the run waits for that is more than its turn or time: an approval, or that it is resumed.
	Waits string `json:"waits,omitempty"`
	// PausedBy is who paused it.
	PausedBy *string    `json:"pausedBy,omitempty"`
	PausedAt *time.Time `json:"pausedAt,omitempty"`
	Token    int64      `json:"-"`
	// Atomic is what its Score file has in [AtomicAnnotation], "" for nothing.
	Atomic string `json:"atomic,omitempty"`
	// Together numbers those that are deployed with it or not at all, 0 if it is on its own.
	Together int64 `json:"together,omitempty"`
	// Kept says why it cannot be taken back although another one of them failed.
	Kept *fault.Fault `json:"kept,omitempty"`
	// Paths are the golden paths that it follows, nil if it only deploys its release.
	Paths *Paths `json:"-"`
}

// Paths are golden paths as they were when a run was made.
type Paths struct {
	// Name is the one that the run follows.
	Name string `json:"name"`
	// Texts are that one and those that it uses, by name. They are read for those who follow them alone.
	Texts map[string]string `json:"texts,omitempty"`
}

// LogLine is a line of a run's log.
type LogLine struct {
	ID      int64     `json:"id"`
	Step    string    `json:"step"`
	At      time.Time `json:"at"`
	Message string    `json:"message"`
}
