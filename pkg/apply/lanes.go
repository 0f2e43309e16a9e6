package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/innominatus/reconciler/pkg/queue"
)

const (
	// TurnWait is how long a delivery waits for its turn, and holds its worker: some ten pushes of a few hundred milliseconds
	// each, and little beside the minute after which a host is given up that does not answer.
	TurnWait = 3 * time.Second
	// LaneWidth is how many workers of a process are inside a lane: a quarter of those that it has by default, and enough that
	// the next ones stand ready when a turn ends.
	LaneWidth = 4
	// shortestPause is the shortest time for which a delivery is put off: many times what it costs to ask again.
	shortestPause = 200 * time.Millisecond
	// lonePause is the time between two that ask again where the last one waited in vain: one is inside most of the time.
	lonePause = time.Second
	// longestPause bounds for how long a delivery is put off, give or take a half: how late it learns that its way is free.
	longestPause = 15 * time.Second
)

// Busy is the error of a delivery that gave way because others are where it wants to go. It is no failure: the step is put off,
// and its worker does something else.
type Busy struct {
	// What it waits for, for people: "its turn at the deployment repository …".
	What string
	// After is when it asks again.
	After time.Duration
}

// Error implements error.
func (b *Busy) Error() string { return fmt.Sprintf("waits for %s", b.What) }

// Lanes bound how many workers of a process wait for the same thing, or are at it: what hangs must not take all of them. Where
// somebody waited in vain, one goes in at a time until one got through. The zero value is ready for use.
type Lanes struct {
	byName sync.Map
}

// lane is what the deliveries of a process know of a thing that each of them needs.
type lane struct {
	mu     sync.Mutex
	inside int
	// alone says that the last one to tell waited in vain.
	alone bool
	// took is how long the last one kept the others waiting that got through, left when it did.
	took time.Duration
	left time.Time
	// next is until when those who are put off ask again: each has a time of its own, so that as many ask as can be served.
	next time.Time
}

// Place is one in a lane.
type Place struct {
	*lane
	what    string
	entered time.Time
}

// Outcome is what somebody learned inside a lane.
type Outcome int

// What one can learn.
const (
	// Unknown: it left for a reason of its own.
	Unknown Outcome = iota
	// Through: it got its turn, and an answer.
	Through
	// InVain: it waited, and nothing came.
	InVain
)

// Enter takes one of a lane's places, or fails with [Busy]. what is what the lane leads to, for people.
func (l *Lanes) Enter(name, what string, width int) (*Place, error) {
	kept, _ := l.byName.LoadOrStore(name, &lane{})
	p := &Place{lane: kept.(*lane), what: what, entered: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alone {
		width = 1
	}
	if p.inside >= width {
		return nil, p.busy()
	}
	p.inside++
	return p, nil
}

// Leave gives the place to another one.
func (p *Place) Leave(o Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(o)
}

// End gives the place to another one after what was to be done in it ended with err: it got through, unless the run was stopped.
func (p *Place) End(ctx context.Context, err error) {
	if errors.Is(err, queue.ErrSuperseded) || ctx.Err() != nil {
		p.Leave(Unknown)
		return
	}
	p.Leave(Through)
}

// GiveUp leaves after having waited in vain.
func (p *Place) GiveUp() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(InVain)
	return p.busy()
}

func (p *Place) leave(o Outcome) {
	p.inside--
	switch o {
	case Unknown:
	case InVain:
		p.alone = true
	case Through:
		now, since := time.Now(), p.entered
		if p.left.After(since) {
			since = p.left
		}
		p.alone, p.took, p.left = false, now.Sub(since), now
	}
}

// busy puts somebody off until those are served who were before, as far as one can tell.
func (p *Place) busy() error {
	step, now := max(p.took, shortestPause), time.Now()
	if p.alone {
		step = lonePause
	}
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(step)
	if last := now.Add(longestPause); p.next.After(last) {
		p.next = last
	}
	vary := backoff.NewExponentialBackOff(backoff.WithInitialInterval(p.next.Sub(now)), backoff.WithRandomizationFactor(0.5))
	return &Busy{What: p.what, After: vary.NextBackOff()}
}
