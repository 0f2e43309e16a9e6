package model

import "fmt"

const (
	// generations are released one after the other: the third is the first again, as after a revert.
	generations = 3
	workers     = 2
	// Leases of workers that live end twice, and one worker is killed: few, so that there is an end.
	leaseEnds, deaths = 2, 1
)

// want is what the target holds when a generation was applied.
func want(generation uint8) uint8 { return 2 - generation%2 }

// guards are what the promises rest on; a test takes each away.
type guards struct {
	// folder: the target is a folder with a fence of its own, instead of a branch.
	folder bool
	// beginFence: a run is taken only by a newer token than it has, and only while it is not over (runs.token in begin).
	beginFence bool
	// alive: the fence is asked right before the push (Delivery.Alive).
	alive bool
	// swap: a push names the commit that it was built on (compare-and-swap on the branch).
	swap bool
	// finishFence: run and job end in one transaction that holds their tokens.
	finishFence bool
	// lock: only one process at a time is in the folder. targetFence: whoever enters leaves its token there, and older ones
	// are refused.
	lock, targetFence bool
	// move: a run that finds nothing to write moves the branch all the same if the run before it began and did not succeed:
	// something of that may still be on its way.
	move bool
}

// What becomes of a job, a run, and where a worker is in it.
const (
	jobNone, jobReady, jobRunning                      = 0, 1, 2
	runQueued, runRunning, runSucceeded, runSuperseded = 0, 1, 2, 3
	idle, claimed, begun, looked, sending, answered    = 0, 1, 2, 3, 4, 5
)

// worker is a process with what it knows. It may stop at any point for any time: then others make the steps.
type worker struct {
	at, token, generation uint8
	// head is the commit that it saw, empty that its push changes nothing.
	head  uint8
	empty bool
}

// flight is a push on its way; it arrives, whatever becomes of who sent it.
type flight struct {
	there             bool
	generation, head  uint8
	token, by         uint8
	empty, unanswered bool
}

// state is everything: the queue's row of one application, its runs, its target, the workers, and the network.
type state struct {
	// released is the newest generation.
	released uint8
	// job is the state of the job at its turn, of which generation and with which token; waiting the generation behind it.
	job, generation, token, waiting uint8
	tokens                          uint8
	runs, runTokens                 [generations + 1]uint8
	applied                         uint8
	// head counts the branch's commits, content is what the target holds, wrote the generation that wrote last.
	head, content, wrote uint8
	// fence is the newest token that was in the folder, locked 1 more than the worker that is.
	fence, locked     uint8
	workers           [workers]worker
	flights           [workers]flight
	leaseEnds, deaths uint8
	// broken is the promise that the last step broke.
	broken string
}

// steps returns everything that can happen next.
func (g guards) steps(s state) (list []step) {
	if s.broken != "" {
		return nil
	}
	add := func(next state, format string, args ...any) {
		list = append(list, step{fmt.Sprintf(format, args...), next})
	}
	if s.released < generations {
		add(release(s), "generation %d is released", s.released+1)
	}
	if s.job == jobRunning {
		next := reap(s)
		if s.worked() {
			next.leaseEnds++
		}
		if next.leaseEnds <= leaseEnds {
			add(next, "the lease of token %d ends", s.token)
		}
	}
	for i := range s.flights {
		if s.flights[i].there {
			add(g.arrive(s, i), "the push of generation %d by worker %d arrives", s.flights[i].generation, s.flights[i].by)
		}
	}
	for i, w := range s.workers {
		if w.at != idle && s.deaths < deaths {
			next := leave(s, i)
			next.deaths++
			for f := range next.flights {
				if next.flights[f].by == uint8(i) {
					next.flights[f].unanswered = true
				}
			}
			add(next, "worker %d is killed", i)
		}
		if next, name := g.work(s, i); name != "" {
			add(next, "worker %d %s", i, name)
		}
		if next, ok := giveWay(s, i); ok {
			add(next, "worker %d gives way to a newer generation", i)
		}
	}
	return list
}

// worked says whether the worker that has the job's lease lives: it may be stopped, or cut off from the database.
func (s state) worked() bool {
	for _, w := range s.workers {
		if w.at != idle && w.token == s.token {
			return true
		}
	}
	return false
}

// leave makes a worker idle; what it had locked is free.
func leave(s state, i int) state {
	s.workers[i] = worker{}
	if s.locked == uint8(i)+1 {
		s.locked = 0
	}
	return s
}

// release stores a generation with its run and job, in one transaction. A job that only waits is replaced.
func release(s state) state {
	s.released++
	switch s.job {
	case jobNone:
		s.job, s.generation = jobReady, s.released
	case jobReady:
		s.runs[s.generation] = runSuperseded
		s.generation = s.released
	case jobRunning:
		if s.waiting > 0 {
			s.runs[s.waiting] = runSuperseded
		}
		s.waiting = s.released
	}
	return s
}

// promote gives the job's place to the one that waits.
func promote(s state) state {
	s.job, s.generation, s.token = jobNone, 0, 0
	if s.waiting > 0 {
		s.job, s.generation, s.waiting = jobReady, s.waiting, 0
	}
	return s
}

// reap ends a lease: the job is tried again, or makes way to a newer one.
func reap(s state) state {
	if s.waiting > 0 {
		s.runs[s.generation] = runSuperseded
		return promote(s)
	}
	s.job, s.token = jobReady, 0
	return s
}

// giveWay ends a run at a safe point because a newer one waits.
func giveWay(s state, i int) (state, bool) {
	w := s.workers[i]
	if (w.at != begun && w.at != looked) || s.waiting == 0 || s.token != w.token || s.job != jobRunning {
		return s, false
	}
	s.runs[s.generation] = runSuperseded
	return promote(leave(s, i)), true
}

// holds says whether a worker's token is the run's, and the run goes on.
func holds(s state, w worker) bool {
	return s.runTokens[w.generation] == w.token && s.runs[w.generation] == runRunning
}

// work is a worker's next step, "" if it has none.
func (g guards) work(s state, i int) (state, string) {
	w := &s.workers[i]
	switch w.at {
	case idle:
		if s.job != jobReady {
			return s, ""
		}
		s.tokens++
		s.job, s.token = jobRunning, s.tokens
		*w = worker{at: claimed, token: s.tokens, generation: s.generation}
		return s, fmt.Sprintf("claims generation %d with token %d", w.generation, w.token)
	case claimed:
		open := s.runs[w.generation] <= runRunning
		if g.beginFence && (s.runTokens[w.generation] > w.token || !open) {
			*w = worker{}
			return s, "finds that the run is somebody else's"
		}
		s.runTokens[w.generation], s.runs[w.generation], w.at = w.token, runRunning, begun
		return s, "begins the run"
	case begun:
		if g.folder {
			return g.enter(s, i)
		}
		if s.content == want(w.generation) && (!g.move || !contested(s, w.generation)) {
			w.at = answered
			return s, "looks, and has nothing to write"
		}
		w.at, w.head, w.empty = looked, s.head, s.content == want(w.generation)
		return s, "looks, and builds a commit"
	case looked:
		if g.alive && !holds(s, *w) {
			return leave(s, i), "finds its lease lost"
		}
		if g.folder {
			w.at = sending
			return s, "is about to write"
		}
		for f := range s.flights {
			if !s.flights[f].there {
				s.flights[f] = flight{there: true, generation: w.generation, head: w.head, token: w.token, by: uint8(i), empty: w.empty}
				w.at = sending
				return s, fmt.Sprintf("pushes generation %d", w.generation)
			}
		}
		return s, ""
	case answered:
		return g.finish(s, i)
	default: // sending: over the network, the answer comes when the push arrives
		if !g.folder {
			return s, ""
		}
		generation := w.generation
		w.at = answered
		if s.locked == uint8(i)+1 {
			s.locked = 0
		}
		return s.write(generation, s.content == want(generation)), "writes"
	}
}

// enter locks the folder and looks at its fence.
func (g guards) enter(s state, i int) (state, string) {
	w := &s.workers[i]
	if g.lock && s.locked != 0 {
		return s, ""
	}
	if g.targetFence && s.fence > w.token {
		return leave(s, i), "finds a newer token in the folder"
	}
	if g.lock {
		s.locked = uint8(i) + 1
	}
	s.fence, w.at = max(s.fence, w.token), looked
	return s, "enters the folder"
}

// write lets an effect happen.
func (s state) write(generation uint8, empty bool) state {
	if newest := max(s.applied, s.wrote); !empty && generation < newest {
		s.broken = fmt.Sprintf("generation %d is written after generation %d", generation, newest)
	}
	s.head++
	s.wrote, s.content = generation, want(generation)
	return s
}

// contested says that the newest run before a generation that began did not succeed.
func contested(s state, generation uint8) bool {
	for before := generation - 1; before > 0; before-- {
		if s.runTokens[before] > 0 {
			return s.runs[before] != runSucceeded
		}
	}
	return false
}

// arrive lets a push have its effect, or be rejected, and answers.
func (g guards) arrive(s state, i int) state {
	f := s.flights[i]
	s.flights[i] = flight{}
	accepted := !g.swap || f.head == s.head
	if accepted {
		s = s.write(f.generation, f.empty)
	}
	if w := &s.workers[f.by]; !f.unanswered && w.at == sending && w.token == f.token {
		w.at = begun // rejected: it looks again
		if accepted {
			w.at = answered
		}
	}
	return s
}

// finish ends run and job in one transaction.
func (g guards) finish(s state, i int) (state, string) {
	w := s.workers[i]
	s = leave(s, i)
	if g.finishFence && (!holds(s, w) || s.token != w.token || s.job != jobRunning) {
		return s, "finds its lease lost at the end"
	}
	if s.runs[w.generation] == runSucceeded {
		s.broken = fmt.Sprintf("the run of generation %d ends twice", w.generation)
	}
	if w.generation < s.applied {
		s.broken = fmt.Sprintf("generation %d counts as applied after generation %d", w.generation, s.applied)
	}
	s.runs[w.generation], s.applied = runSucceeded, w.generation
	return promote(s), fmt.Sprintf("ends the run of generation %d", w.generation)
}

// promises says what a state breaks.
func promises(s state, last bool) string {
	switch {
	case s.broken != "":
		return s.broken
	case !last:
		return ""
	case s.job != jobNone || s.runs[generations] != runSucceeded || s.applied != generations:
		return fmt.Sprintf("the newest generation is lost: job %d of generation %d, run %d, applied %d", s.job, s.generation, s.runs[generations], s.applied)
	case s.content != want(generations):
		return fmt.Sprintf("the target holds %d in the end, want %d", s.content, want(generations))
	}
	return ""
}
