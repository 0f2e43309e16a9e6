package queue

import "maps"

// transitions are the ways between states. A job enters as blocked or ready.
var transitions = map[State][]State{
	Blocked: {Ready, Superseded, Cancelled},
	Ready:   {Running, Superseded, Cancelled},
	Running: {Ready, Done, Dead, Superseded, Cancelled},
}

// Transitions returns the ways between states.
func Transitions() map[State][]State { return maps.Clone(transitions) }
