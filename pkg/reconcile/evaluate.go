package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/score"
)

// finding is what a tree means for one application of an environment.
type finding struct {
	document
	// name is the workload's, or that of the known application if the file is broken or gone.
	name string
	// known is the application as it is stored; nil if it is new.
	known *planner.Application
	// gone: the file is not in the tree any more.
	gone bool
	// unchanged: nothing that the newest release depends on is different.
	unchanged bool
	inputs    string
	base      planner.Base
	release   *planner.Release
	plan      *planner.Plan
	// joined numbers what its run is deployed together with, 0 for nothing.
	joined int64
	// replaced are the runs that this one's has taken the place of.
	replaced []int64
}

// view is a tree as it is seen in one environment.
type view struct {
	repository  gitwatch.Repository
	environment *platform.Environment
	platform    *platform.Platform
	findings    []finding
	// mine are the applications that the repository has.
	mine []planner.Application
	// emptied: the tree has no application any more that the repository has.
	emptied bool
}

// evaluate plans every application of a tree in an environment. It changes nothing.
func (r *Reconciler) evaluate(ctx context.Context, db postgres.Querier, repo gitwatch.Repository, s sight) (*view, error) {
	p, err := r.Platform.Current(ctx, db)
	if err != nil {
		return nil, err
	}
	v := &view{repository: repo, platform: p}
	if v.environment, err = p.Environment(s.environment); err != nil {
		return nil, err
	}
	all, err := r.Planner.Applications(ctx, db, planner.Filter{Environment: s.environment})
	if err != nil {
		return nil, err
	}
	v.match(s.documents, all)
	services, err := r.services(ctx, db, v)
	if err != nil {
		return nil, err
	}
	stored, shared, err := r.Runs.Stored(ctx, db, s.environment)
	if err != nil {
		return nil, err
	}
	w := surroundings{services: services, stored: stored, shared: shared, source: read(s.tree)}
	v.rename(stored)
	order := v.order(stored)
	v.giveUp(stored)
	for _, f := range order {
		if err := r.build(ctx, db, v, f, w); err != nil {
			return nil, err
		}
	}
	if err := r.refuseTaken(ctx, db, v); err != nil {
		return nil, err
	}
	for i := range v.findings {
		if f := &v.findings[i]; f.release != nil || f.gone {
			f.plan = v.plan(f)
		}
	}
	return v, nil
}

// surroundings are what a release depends on beside its workload.
type surroundings struct {
	services map[string]recipe.Service
	stored   map[string]planner.StoredResource
	shared   map[string]any
	source   func(path string) ([]byte, error)
}

// build makes the release of a finding that has a workload, unless it is what it was, and reads what it will be compared
// with.
func (r *Reconciler) build(ctx context.Context, db postgres.Querier, v *view, f *finding, w surroundings) (err error) {
	if f.workload == nil && !f.gone {
		return nil
	}
	if f.workload != nil {
		f.inputs = r.inputs(f.document, v, w)
		if f.unchanged, err = r.settled(ctx, db, f); err != nil || f.unchanged {
			return err
		}
	}
	if f.base, err = r.base(ctx, db, f); err != nil {
		return err
	}
	if f.workload == nil {
		return r.note(ctx, db, v, f, w)
	}
	f.release, f.faults = planner.Build(planner.Input{
		Workload: f.workload, Environment: v.environment, Platform: v.platform, Services: w.services, Stored: w.stored, Shared: w.shared,
		Base: f.base.Release, Source: w.source, Secrets: r.Keys,
	})
	if f.release == nil {
		return nil
	}
	return r.note(ctx, db, v, f, w)
}

// note lets what is built later see what a finding changes. What is held back or waits for a person is not what others
// will find.
func (r *Reconciler) note(ctx context.Context, db postgres.Querier, v *view, f *finding, w surroundings) error {
	p := v.plan(f)
	if f.known != nil && f.known.Hold.Holds(p.Digest) {
		return nil
	}
	if v.removesAll(f) || asks(v.environment, p) != nil {
		if confirmed, err := r.Planner.Confirmed(ctx, db, p.ID); err != nil || !confirmed {
			return err
		}
	}
	w.note(f.name, f.release)
	return nil
}

// rename lets a workload that has another name now go on describing what it described.
func (v *view) rename(stored map[string]planner.StoredResource) {
	for _, f := range v.findings {
		if f.known == nil || f.workload == nil || f.known.Name == f.name {
			continue
		}
		for uid, s := range stored {
			if s.DescribedBy == f.known.Name {
				s.DescribedBy = f.name
				stored[uid] = s
			}
		}
	}
}

// note lets what is built later see which shared resources a release describes, and which it does not any more; release
// is nil if the workload goes.
func (w surroundings) note(workload string, release *planner.Release) {
	for uid, was := range w.stored {
		if was.DescribedBy == workload && (release == nil || !uses(release, uid)) {
			w.stored[uid] = planner.StoredResource{Provisioner: was.Provisioner, State: was.State}
		}
	}
	if release == nil {
		return
	}
	for _, res := range release.Resources {
		was, made := w.stored[res.UID]
		mine := !made || was.Deleted || was.DescribedBy == "" || was.DescribedBy == release.Workload
		if res.ID == "" || !mine && (len(res.Params) == 0 || len(was.Params) > 0) {
			continue
		}
		w.stored[res.UID] = planner.StoredResource{
			Provisioner: res.Provisioner, Params: res.Params, DescribedBy: release.Workload, Record: release.Hidden.Records[res.UID],
		}
	}
}

func uses(release *planner.Release, uid string) bool {
	return slices.ContainsFunc(release.Resources, func(res planner.Resource) bool { return res.UID == uid })
}

// order returns the findings in the order in which they are built: who describes shared resources comes before who only
// uses them.
func (v *view) order(stored map[string]planner.StoredResource) []*finding {
	list := make([]*finding, len(v.findings))
	for i := range v.findings {
		list[i] = &v.findings[i]
	}
	rank := func(f *finding) int {
		if f.workload == nil {
			return 0
		}
		best := 3
		for _, res := range f.workload.Resources {
			if res.ID == "" {
				continue
			}
			rank := 3
			if gives(res) {
				rank = 1
			}
			if stored[planner.UID(f.workload.Name, res)].DescribedBy == f.workload.Name {
				rank--
			}
			best = min(best, rank)
		}
		return best
	}
	slices.SortStableFunc(list, func(a, b *finding) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}

func gives(res score.Resource) bool { return res.Params != nil && len(res.Params.Entries) > 0 }

// giveUp lets others describe the shared resources whose describers give no params any more.
func (v *view) giveUp(stored map[string]planner.StoredResource) {
	for _, f := range v.findings {
		if f.workload == nil || f.known != nil && f.known.Hold != nil {
			continue
		}
		for _, res := range f.workload.Resources {
			uid := planner.UID(f.workload.Name, res)
			if s := stored[uid]; res.ID != "" && !gives(res) && s.DescribedBy == f.workload.Name && len(s.Params) > 0 {
				stored[uid] = planner.StoredResource{Provisioner: s.Provisioner, State: s.State}
			}
		}
	}
}

// settled says that the newest release of an application was made of the same inputs, is in its target, and stays there.
func (r *Reconciler) settled(ctx context.Context, db postgres.Querier, f *finding) (bool, error) {
	a := f.known
	if a == nil || a.Inputs != f.inputs || len(a.Faults) > 0 || a.Waiting != "" || a.Applied != a.Generation || a.Applied == 0 {
		return false, nil
	}
	back, err := r.goesBack(ctx, db, f)
	return !back, err
}

// match brings documents and known applications together, and refuses names that belong to somebody else.
func (v *view) match(docs []document, all []planner.Application) {
	m := newMatching(v.repository.Name, docs, all)
	for i, d := range docs {
		f := finding{document: d, known: m.known[i]}
		if d.none && f.known == nil {
			continue
		}
		switch {
		case d.workload != nil:
			f.name = d.workload.Name
			if other := m.owner(f.name, f.known); other != "" {
				taken := fault.New(fault.NameTaken, "the name %q belongs to %s in environment %s", f.name, other, v.environment.Name).At(d.workload.NameAt)
				d.workload.Show(fault.List{taken})
				f.workload, f.faults = nil, append(f.faults, taken)
			} else if f.known == nil {
				m.fresh[f.name] = v.repository.Name + " " + d.path
			}
		case f.known != nil:
			f.name = f.known.Name
		default:
			f.name = d.path
		}
		v.findings = append(v.findings, f)
	}
	v.mine = m.mine
	gone := 0
	for i := range m.mine {
		// What a file holds that cannot be read is not known: nothing of it counts as gone.
		if a := m.mine[i]; !m.claimed[a.ID] && !m.unreadable(a) {
			gone++
			v.findings = append(v.findings, finding{document: document{path: a.Path}, name: a.Name, known: &a, gone: true})
		}
	}
	v.emptied = gone > 0 && gone == len(m.mine)
}

// services returns how all workloads of the environment are reached once the tree is applied.
func (r *Reconciler) services(ctx context.Context, db postgres.Querier, v *view) (map[string]recipe.Service, error) {
	services, err := r.Planner.Services(ctx, db, v.environment.Name)
	if err != nil {
		return nil, err
	}
	services = maps.Clone(services)
	for _, f := range v.findings {
		if f.workload != nil {
			services[f.workload.Name] = planner.ServiceOf(f.workload)
		}
		if f.gone {
			delete(services, f.name)
		}
	}
	return services, nil
}

// base returns what is in the target of a finding's application.
func (r *Reconciler) base(ctx context.Context, db postgres.Querier, f *finding) (planner.Base, error) {
	if f.known == nil {
		return planner.Base{}, nil
	}
	base, err := r.Planner.Base(ctx, db, *f.known)
	if err == nil {
		base, err = r.Runs.Base(ctx, db, *f.known, base)
	}
	if err != nil {
		return base, fmt.Errorf("read base of %s: %w", f.name, err)
	}
	return base, nil
}

func (v *view) plan(f *finding) *planner.Plan {
	p := planner.NewPlan(f.name, v.environment.Name, v.platform.Digest, f.base, f.release)
	p.Warnings = f.faults.Warnings()
	return p
}
