package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

const (
	// parallel is how many steps of one run are at work at once: each may hold a connection of the pool.
	parallel = 6
	// pausedFor is how long a run is put off that people want to wait. To resume it wakes it, unless it was a process of an
	// older version that was told so.
	pausedFor = time.Minute
)

// ended is the end of a step's attempt.
type ended struct {
	*node
	result
	err error
}

// engine drives the steps of a run. Only its own goroutine touches the tree; steps at work tell it their end.
type engine struct {
	*execution
	tree *tree
	busy map[string]context.CancelCauseFunc
	ends chan ended
	// paused says who wants nothing new to begin, "" for nobody.
	paused string
	// noted is when the secrets that the run handles were made known last.
	noted time.Time
}

// drive brings the run to its end, or as far as it gets now. Whatever it returns, no step is at work any more.
func (e *engine) drive(ctx context.Context) error {
	defer e.drain(ctx)
	for {
		if err := e.stop(ctx); err != nil {
			return err
		}
		if err := e.settle(ctx); err != nil {
			return err
		}
		if e.run.Waits != "" && e.paused == "" && !e.asking() {
			if err := e.tell(ctx, ""); err != nil {
				return err
			}
		}
		if len(e.busy) == 0 {
			if done, err := e.rest(ctx); done || err != nil {
				return err
			}
		}
		select {
		case end := <-e.ends:
			delete(e.busy, end.Name)
			if err := e.finish(ctx, end); err != nil {
				return err
			}
		case <-e.superseded:
		case <-ctx.Done():
		}
	}
}

// stop says why nothing more is to begin, once nothing that a newer release must wait for is at work; nil if there is no reason.
func (e *engine) stop(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ended := e.tree.graph.End(); ended {
		return nil
	}
	select {
	case <-e.superseded:
		// What is at work and can be broken off is; a delivery goes on to its end.
		e.interrupt(queue.ErrSuperseded)
		e.await(ctx)
		return queue.ErrSuperseded
	default:
		return nil
	}
}

// rest says what to do when nothing is at work: the run has ended, or it is put off.
func (e *engine) rest(ctx context.Context) (done bool, err error) {
	if state, ended := e.tree.graph.End(); ended {
		return true, e.verdict(state)
	}
	wake, parked := e.tree.graph.Wake()
	wait, note := wake.Sub(e.now()), e.waits()
	if e.paused != "" {
		wait, note, parked = pausedFor, e.paused, true
	}
	if !parked {
		return false, fmt.Errorf("run %d has nothing to do and has not ended", e.run.ID)
	}
	if err := e.tell(ctx, note); err != nil {
		return false, err
	}
	return true, queue.Snooze(wait, note)
}

// verdict is the failure of the step that failed first, or nil if the run ended well. A step that failed because of those that
// belong to it has no fault of its own.
func (e *engine) verdict(state graph.State) error {
	if state == graph.Succeeded {
		return nil
	}
	var first *node
	for _, n := range e.tree.nodes {
		if n.State == graph.Failed && n.row.Fault != nil && (first == nil || n.row.FinishedAt.Before(*first.row.FinishedAt)) {
			first = n
		}
	}
	if first == nil {
		return queue.Bury(fault.New(fault.Internal, "run %d failed, and none of its steps says why", e.run.ID))
	}
	return queue.Bury(first.row.Fault)
}

// settle does what follows without work, until nothing more does, and begins what may begin.
func (e *engine) settle(ctx context.Context) error {
	for {
		if group, state := e.tree.graph.Done(); group != nil {
			if err := e.close(ctx, e.tree.nodes[group.Name], state); err != nil {
				return err
			}
			continue
		}
		if doomed := e.tree.graph.Doomed(); len(doomed) > 0 {
			if err := e.doom(ctx, doomed); err != nil {
				return err
			}
			continue
		}
		if e.paused != "" {
			return nil
		}
		free := parallel - len(e.busy)
		next := e.tree.graph.Next(e.now(), free, func(n *graph.Node) bool { return e.busy[n.Name] != nil })
		if len(next) == 0 {
			return nil
		}
		for _, n := range next {
			if err := e.begin(ctx, e.tree.nodes[n.Name]); err != nil {
				return err
			}
		}
		if free == 0 {
			return nil
		}
	}
}

// doom cancels what will not begin any more.
func (e *engine) doom(ctx context.Context, list []*graph.Node) error {
	changed := make([]*node, len(list))
	for i, n := range list {
		if err := e.tree.graph.Set(n, graph.Cancelled); err != nil {
			return err
		}
		changed[i] = e.tree.nodes[n.Name]
		changed[i].row.Detail = "another step failed"
	}
	return e.save(ctx, changed...)
}

// close ends a group whose steps have ended.
func (e *engine) close(ctx context.Context, n *node, state graph.State) error {
	var err error
	if state == graph.Succeeded {
		if n.outputs, err = e.tree.gives(n); err != nil {
			state, n.row.Fault = graph.Failed, e.redacted(fault.Of(err)[0])
		}
		e.hide(n)
	}
	if err := e.tree.graph.Set(n.Node, state); err != nil {
		return err
	}
	return e.save(ctx, n)
}

// noteEvery is how often a turn that lasts makes its secrets known again: well before they are forgotten.
const noteEvery = time.Hour

// noteAgain makes the secrets that the run handles known again, if it has been at work for long.
func (e *engine) noteAgain() {
	if time.Since(e.noted) < noteEvery {
		return
	}
	e.noted = time.Now()
	if e.release != nil {
		e.Redactor.Note(e.release.SecretValues()...)
	}
	for _, n := range e.tree.nodes {
		e.hide(n)
	}
}

// begin begins a step: it skips it, opens what it stands for, or puts it to work.
func (e *engine) begin(ctx context.Context, n *node) error {
	e.noteAgain()
	if n.step != nil && n.State == graph.Waiting {
		to, added, err := e.tree.open(n)
		switch {
		case err != nil:
			if err := e.fail(n, err); err != nil {
				return err
			}
			return e.save(ctx, n)
		case to != "":
			if err := e.tree.graph.Set(n.Node, to); err != nil {
				return err
			}
			return e.grow(ctx, n, added)
		}
	}
	if n.step != nil && n.values == nil {
		// It began in another worker's turn: what it knows is as it was then.
		var err error
		if n.values, err = e.tree.values(n); err != nil {
			return err
		}
	}
	if err := e.start(ctx, n); err != nil || e.paused != "" {
		return err
	}
	work, cancel := context.WithCancelCause(ctx)
	e.busy[n.Name] = cancel
	go func() {
		r, err := e.attempt(work, n)
		e.ends <- ended{n, r, err}
	}()
	return nil
}

// interrupt breaks off the steps at work that can be begun again at any point.
func (e *engine) interrupt(cause error) {
	for name, cancel := range e.busy {
		if n := e.tree.nodes[name]; n.step != nil {
			cancel(cause)
		}
	}
}

// drain waits for all that is at work. Its context has ended, or it comes to its end by itself.
func (e *engine) drain(ctx context.Context) {
	for name := range e.busy {
		e.busy[name](errDrained)
	}
	e.await(ctx)
}

// await waits until nothing is at work any more. What is done is written down, or a later turn would do it again; how the rest
// ended is of no interest.
func (e *engine) await(ctx context.Context) {
	var err error
	for len(e.busy) > 0 {
		end := <-e.ends
		delete(e.busy, end.Name)
		if end.err == nil && err == nil { // the next one would wait as long to fail as well
			err = e.finish(ctx, end)
		}
	}
	if err != nil && !errors.Is(err, queue.ErrLeaseLost) {
		e.Log.Warn().Err(err).Int64("run", e.run.ID).Msg("what is done was not written down and will be done again")
	}
}

var errDrained = errors.New("the run is not driven any more")
