package reconcile

import (
	"context"
	"slices"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// refuseTaken takes away the releases that have objects of other applications: what is in the target belongs to who has it
// there, and among new ones the first by path is the owner. What an application gives up in the same tree is free.
func (r *Reconciler) refuseTaken(ctx context.Context, db postgres.Querier, v *view) error {
	owners := map[string]*finding{}
	for i := range v.findings {
		f := &v.findings[i]
		if f.release == nil {
			continue
		}
		var id int64
		if f.known != nil {
			id = f.known.ID
		}
		taken, err := r.Runs.Taken(ctx, db, v.environment.Name, id, f.release.Workload, f.release.Objects)
		if err != nil {
			return err
		}
		taken = slices.DeleteFunc(taken, func(t apply.Taken) bool { return v.givenUp(t, f) })
		for _, o := range f.release.Objects {
			if other := owners[o.Key()]; other != nil && (o.Unit != planner.UnitShared || !shares(other.release, o.Key())) {
				taken = append(taken, apply.Taken{Key: o.Key(), Name: other.name})
			}
		}
		if len(taken) > 0 {
			f.refuse(taken[0])
			continue
		}
		for _, o := range f.release.Objects {
			owners[o.Key()] = f
		}
	}
	return nil
}

// givenUp says that the owner of an object does not want it any more, and does not want one of who takes it: two that
// change objects would wait for each other.
func (v *view) givenUp(t apply.Taken, taker *finding) bool {
	i := slices.IndexFunc(v.findings, func(f finding) bool { return f.known != nil && f.known.ID == t.Application })
	if i < 0 || v.findings[i].unchanged {
		return false
	}
	owner := v.findings[i]
	return owner.gone || owner.release != nil && !has(owner.release, t.Key) && !wantsOf(owner.release, taker.base.Release)
}

func has(r *planner.Release, key string) bool {
	return slices.ContainsFunc(r.Objects, func(o planner.Object) bool { return o.Key() == key })
}

// wantsOf says whether a release has an object, not shared, that another one has now.
func wantsOf(r, other *planner.Release) bool {
	return other != nil && slices.ContainsFunc(r.Objects, func(o planner.Object) bool { return o.Unit != planner.UnitShared && has(other, o.Key()) })
}

// shares says whether a release has an object as one that several applications need.
func shares(r *planner.Release, key string) bool {
	return slices.ContainsFunc(r.Objects, func(o planner.Object) bool { return o.Key() == key && o.Unit == planner.UnitShared })
}

// refuse takes a finding's release away because an object of it is somebody else's.
func (f *finding) refuse(t apply.Taken) {
	at := f.workload.NameAt
	for _, o := range f.release.Objects {
		for _, res := range f.release.Resources {
			if o.Key() == t.Key && o.Resource == res.UID {
				at = res.At
			}
		}
	}
	told := t.Fault(f.release.Workload).At(at)
	f.workload.Show(fault.List{told})
	f.release, f.faults = nil, append(f.faults, told)
}
