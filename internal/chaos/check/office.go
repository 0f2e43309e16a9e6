package check

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Request is one in the record of the office that golden paths speak to, with its answer.
type Request struct {
	At time.Time
	// Path is /do/STEP or /undo/STEP, Key the Idempotency-Key.
	Path, Key, Body string
	// Status and Ticket are the answer; Again says that it was that of an earlier request with the key.
	Status, Ticket int
	Again          bool
}

// Span is a time in which something was not as ever.
type Span struct{ From, To time.Time }

// said is what a request tells of its run, with what earlier steps gave it.
type said struct {
	Application, Commit        string
	Generation, Ticket, Window int64
	Seats                      []int64
}

// effect is what a request did: the first with its key that the office did not refuse.
type effect struct {
	Request
	said
	// index is its place in the record.
	index int
}

// deeds are the effects of a run, by step, and what undid them.
type deeds struct {
	done, undone map[string]effect
	// tried is the place in the record of the first request to undo a step, also one that was not done.
	tried map[string]int
	// last is the time of the last request that did something; refused, that one was refused for good.
	last    time.Time
	refused bool
}

// steps of the golden path that ask the office, as the history names them, with those that must have been done before; and
// which of them say how they are undone.
var (
	asSteps  = map[string]string{"open": "open", "note": "note", "site/eu": "seats/site[0]", "site/us": "seats/site[1]", "tell": "tell"}
	needs    = map[string][]string{"site/eu": {"open", "note"}, "site/us": {"open", "note"}, "tell": {"site/eu", "site/us"}}
	undoable = []string{"site/eu", "site/us", "open"}
)

// readOffice sorts the record by runs. Each request belongs to a run that began the step, each key is one request, and each
// step has one key for what it does and one for what undoes it.
func (c *checker) readOffice() map[int64]*deeds {
	all, bodies, steps := map[int64]*deeds{}, map[string]string{}, map[string]string{}
	for i, r := range c.Office {
		c.Numbers["office requests"]++
		if r.Again {
			c.Numbers["office requests sent again"]++
		}
		if before, known := bodies[r.Key]; known && before != r.Path+" "+r.Body || r.Key == "" {
			c.violated("key %q has two requests: %s, %s %s", r.Key, before, r.Path, r.Body)
		}
		bodies[r.Key] = r.Path + " " + r.Body
		var s said
		if err := json.Unmarshal([]byte(r.Body), &s); err != nil {
			c.violated("the office was asked %s %q: %v", r.Path, r.Body, err)
			continue
		}
		run, known := c.history.guided(c.Guided, s)
		verb, step, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
		if !known || c.history.steps[stepKey{run.ID, asSteps[step]}].Attempt == 0 {
			c.violated("the office was asked %s for generation %d of %s, of which no run began such a step", r.Path, s.Generation, s.Application)
			continue
		}
		if all[run.ID] == nil {
			all[run.ID] = &deeds{done: map[string]effect{}, undone: map[string]effect{}, tried: map[string]int{}}
		}
		d, place := all[run.ID], fmt.Sprintf("%d %s", run.ID, r.Path)
		if before, known := steps[place]; known && before != r.Key {
			c.violated("run %d asked the office %s with two keys, %s and %s", run.ID, r.Path, before, r.Key)
		}
		steps[place] = r.Key
		if _, again := d.tried[step]; verb == "undo" && !again {
			d.tried[step] = i
		}
		d.refused = d.refused || r.Status == http.StatusUnprocessableEntity
		switch e := (effect{r, s, i}); {
		case r.Status != http.StatusOK || r.Again:
		case verb == "undo":
			c.Numbers["office effects undone"]++
			d.undone[step] = e
		default:
			c.Numbers["office effects"]++
			d.done[step], d.last = e, r.At
		}
	}
	return all
}

// checkOffice looks at what runs did at the office.
func (c *checker) checkOffice(context.Context) error {
	c.deeds = c.readOffice()
	c.checkTurns()
	for _, r := range c.history.runs {
		d := c.deeds[r.ID]
		if d == nil {
			d = &deeds{}
		}
		if r.Guided {
			c.checkDone(r, d)
			c.checkUndone(r, d)
		}
	}
	return nil
}

// checkTurns looks at the order of effects: once a newer run of an application is past its first steps, and so before it
// brings its release out, nothing is done for an older one.
func (c *checker) checkTurns() {
	past := map[int64]runRow{}
	byIndex := map[int]runRow{}
	var indices []int
	for _, r := range c.history.runs {
		if d := c.deeds[r.ID]; d != nil {
			for _, e := range d.done {
				byIndex[e.index] = r
				indices = append(indices, e.index)
			}
		}
	}
	slices.Sort(indices)
	for _, i := range indices {
		r, step := byIndex[i], strings.TrimPrefix(c.Office[i].Path, "/do/")
		if newer := past[r.Application]; newer.Generation > r.Generation {
			c.violated("run %d (%s, generation %d) did %s when generation %d was on its way", r.ID, r.Name, r.Generation, step, newer.Generation)
		}
		if needs[step] != nil && r.Generation > past[r.Application].Generation {
			past[r.Application] = r
		}
	}
}

// checkDone looks at what a run did: each step after those that it needs and with what they gave, all of them if it
// succeeded, and nothing behind a question that was not approved.
func (c *checker) checkDone(r runRow, d *deeds) {
	for step, e := range d.done {
		for _, need := range needs[step] {
			if before, done := d.done[need]; !done || before.index > e.index {
				c.violated("run %d (%s, generation %d) did %s without %s", r.ID, r.Name, r.Generation, step, need)
			}
		}
		if needs[step] != nil && c.asks(r) && !c.history.approved(r.ID) {
			c.violated("run %d (%s, generation %d) did %s, and nobody approved it", r.ID, r.Name, r.Generation, step)
		}
		if strings.HasPrefix(step, "site/") && e.Window != int64(d.done["open"].Request.Ticket) {
			c.violated("run %d was given ticket %d and goes on with %d", r.ID, d.done["open"].Request.Ticket, e.Window)
		}
		if want := []int64{int64(d.done["site/eu"].Request.Ticket), int64(d.done["site/us"].Request.Ticket)}; step == "tell" && !slices.Equal(e.Seats, want) {
			c.violated("run %d was given seats %v and tells %v", r.ID, want, e.Seats)
		}
	}
	for step := range asSteps {
		if _, done := d.done[step]; !done && r.State == "succeeded" {
			c.violated("run %d (%s, generation %d) succeeded and did not do %s", r.ID, r.Name, r.Generation, step)
		}
	}
}

// checkUndone looks at what was undone of a run: nothing if it succeeded, else everything; each after what it undoes, by the
// ticket that this gave, and after all that was done with it.
func (c *checker) checkUndone(r runRow, d *deeds) {
	missing := 0
	for _, step := range undoable {
		did, done := d.done[step]
		undid, undone := d.undone[step]
		switch {
		case undone && !done:
			c.violated("run %d (%s, generation %d): %s was undone, and never done", r.ID, r.Name, r.Generation, step)
		case !done:
		case !undone:
			missing++
		case undid.index < did.index:
			c.violated("run %d (%s, generation %d): %s was undone before it was done", r.ID, r.Name, r.Generation, step)
		case undid.said.Ticket != int64(did.Request.Ticket):
			c.violated("run %d (%s, generation %d): ticket %d of %s was undone, and it had %d", r.ID, r.Name, r.Generation, undid.said.Ticket, step, did.Request.Ticket)
		}
		c.checkOrder(r, d, step)
	}
	switch {
	case r.State == "succeeded" && len(d.undone) > 0:
		c.violated("run %d (%s, generation %d) succeeded, and was undone", r.ID, r.Name, r.Generation)
	case missing > 0 && r.State != "succeeded":
		c.violated("run %d (%s, generation %d) is %s, and %d of its effects are not undone", r.ID, r.Name, r.Generation, r.State, missing)
	}
	if len(d.undone) == 0 {
		return
	}
	c.Numbers["runs undone"]++
	c.checkUndoneFirst(r, d)
}

// checkOrder looks whether nobody asked for a step to be undone before all that was done after it was. What the office was too
// busy for it did not do; what it did and could not answer it has done.
func (c *checker) checkOrder(r runRow, d *deeds, step string) {
	tried, asked := d.tried[step]
	for _, later := range undoable {
		_, done := d.done[later]
		undid, undone := d.undone[later]
		if asked && done && slices.Contains(needs[later], step) && (!undone || undid.index > tried) {
			c.violated("run %d (%s, generation %d): %s was undone before %s", r.ID, r.Name, r.Generation, step, later)
		}
	}
}

// checkUndoneFirst looks whether a run was undone before the next one. What does not get through for a time is undone beside
// that.
func (c *checker) checkUndoneFirst(r runRow, d *deeds) {
	newer := slices.DeleteFunc(c.history.after(r.Application, r.Generation), func(n runRow) bool { return !n.Began })
	if len(newer) == 0 || r.Token < newer[0].Token {
		return
	}
	for step, e := range d.undone {
		if c.calm(d.last, e.At) {
			c.violated("run %d (%s, generation %d): %s was undone beside generation %d", r.ID, r.Name, r.Generation, step, newer[0].Generation)
		}
	}
}

// calm says that nothing kept requests from getting through as ever.
func (c *checker) calm(from, to time.Time) bool {
	return !slices.ContainsFunc(c.Disturbed, func(s Span) bool { return s.From.Before(to) && from.Before(s.To) })
}
