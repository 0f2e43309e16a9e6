package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/status"
)

// Why an application keeps those back that are deployed together with it, as what follows its name in a sentence; "" if it
// does not.

func invalid(o status.Outcome) string {
	if o.Faults.Err() == nil {
		return ""
	}
	return "cannot be deployed as written"
}

func waitsFor(o status.Outcome) string {
	if o.Waiting == nil {
		return ""
	}
	return "waits for a confirmation: " + o.Waiting.Message
}

func heldFor(o status.Outcome) string {
	if o.Held == "" {
		return ""
	}
	return "is on hold: " + o.Held
}

// keepTogether keeps those back that are deployed together with one that is stuck.
func (r *Reconciler) keepTogether(ctx context.Context, tx pgx.Tx, v *view, list []decision) error {
	stuck := map[string]string{}
	for _, d := range list {
		if d.stuck == "" {
			continue
		}
		groups, err := r.groups(ctx, tx, v, d.finding)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if stuck[g] == "" {
				stuck[g] = d.finding.name + ", with which it is deployed, " + d.stuck
			}
		}
	}
	for i := range list {
		d := &list[i]
		if why := stuck[d.finding.group()]; d.free && why != "" {
			d.free, d.outcome.Waiting = false, fault.New(fault.Together, "%s", why)
		}
	}
	return nil
}

// join gives those that are deployed together the same number.
func (r *Reconciler) join(ctx context.Context, tx pgx.Tx, v *view, list []decision) (err error) {
	numbers := map[string]int64{}
	for i := range list {
		d := &list[i]
		group := d.finding.group()
		if !d.free || group == "" {
			continue
		}
		if numbers[group] == 0 {
			if numbers[group], err = r.Runs.JoinOrBegin(ctx, tx, v.repository.Name, v.environment.Name, group); err != nil {
				return err
			}
		}
		d.finding.joined = numbers[group]
	}
	return nil
}

// group is what a workload is deployed together with, "" for nothing.
func (f *finding) group() string {
	if f.workload == nil || len(f.atomic) == 0 {
		return ""
	}
	return f.atomic[0]
}

// groups are those that a finding belongs to: that of its workload, or all that a file that cannot be read says, and that the
// applications say which it held.
func (r *Reconciler) groups(ctx context.Context, db postgres.Querier, v *view, f *finding) ([]string, error) {
	groups := slices.Clone(f.atomic)
	if f.workload != nil || f.gone {
		return groups, nil
	}
	for _, a := range v.mine {
		file, _, _ := strings.Cut(a.Path, "#")
		if file != f.path || a.Generation == 0 {
			continue
		}
		release, err := r.Planner.Release(ctx, db, a.ID, a.Generation)
		if err != nil {
			return nil, fmt.Errorf("read what %s is deployed together with: %w", a.Name, err)
		}
		if release == nil {
			continue
		}
		if group := release.Score.Lookup("metadata", "annotations", apply.AtomicAnnotation); group != nil {
			groups = append(groups, group.Value())
		}
	}
	return groups, nil
}
