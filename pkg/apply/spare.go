package apply

import (
	"context"

	"github.com/innominatus/reconciler/pkg/planner"
)

// spareLimit is how many releases back the objects of a spared resource are looked for: they are in the one that failed,
// or in one of those that failed right before it.
const spareLimit = 10

// spared is what a rollback leaves where it is, although its release does not have it: resources that hold data.
type spared struct {
	uids []string
	// keys are those of their objects.
	keys map[string]bool
}

// spare returns what the run leaves because it holds data and nobody confirmed that it goes. Only a rollback has to: what a
// commit deletes was confirmed before its run.
func (e *execution) spare(ctx context.Context) (s spared, err error) {
	if e.run.Kind != Rollback {
		return s, nil
	}
	if confirmed, err := e.Planner.Confirmed(ctx, e.Pool, e.run.Plan); err != nil || confirmed {
		return s, err
	}
	a := planner.Application{ID: e.run.Application, Environment: e.run.Environment, Name: e.run.Name}
	base, err := e.Runs.Base(ctx, e.Pool, a, planner.Base{Release: e.release})
	if err != nil {
		return s, err
	}
	missing := map[string]bool{}
	for _, l := range base.Left {
		if l.Stateful {
			s.uids = append(s.uids, l.UID)
			missing[l.UID] = true
		}
	}
	s.keys = map[string]bool{}
	for g := e.run.Generation - 1; g > 0 && g >= e.run.Generation-spareLimit && len(missing) > 0; g-- {
		r, err := e.Planner.Release(ctx, e.Pool, e.run.Application, g)
		if err != nil {
			return s, err
		}
		s.find(r, missing)
	}
	return s, nil
}

// find notes the objects that a release has of the resources that are missing.
func (s *spared) find(r *planner.Release, missing map[string]bool) {
	if r == nil {
		return
	}
	for _, o := range r.Objects {
		if missing[o.Resource] {
			s.keys[o.Key()] = true
		}
	}
	for _, res := range r.Resources {
		delete(missing, res.UID)
	}
}

// among returns the items of the application that are spared.
func (s spared) among(have []item, application int64) (list []item) {
	for _, i := range have {
		if i.Application == application && s.keys[i.Key] {
			list = append(list, i)
		}
	}
	return list
}
