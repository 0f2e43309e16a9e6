package apply

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/planner"
)

// step is a node of the graph with what it does. do returns what it did in a few words.
type step struct {
	name   string
	needs  []string
	always bool
	do     func(ctx context.Context, name string) (string, error)
}

// steps returns the run's graph in an order that respects it: resources first, then the delivery, which removes what is
// obsolete before its resources are let go.
func (e *execution) steps() []step {
	var list []step
	var names []string
	if e.release != nil {
		for _, r := range e.release.Resources {
			s := step{name: "provision " + r.UID, do: e.provision(r)}
			list, names = append(list, s), append(names, s.name)
		}
	}
	deliver := "deliver"
	if e.release == nil {
		deliver = "remove"
	}
	return append(list,
		step{name: deliver, needs: names, always: true, do: e.deliver},
		step{name: "retire", needs: []string{deliver}, do: e.retire})
}

// provision stores a resource with its state; templates and static values were evaluated while planning.
func (e *execution) provision(r planner.Resource) func(context.Context, string) (string, error) {
	return func(ctx context.Context, name string) (string, error) {
		err := pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
			if err := e.Runs.fence(ctx, tx, e.run); err != nil {
				return err
			}
			if e.release.Hidden.Shared != nil {
				if err := e.Runs.storeShared(ctx, tx, e.run.Environment, e.release.Hidden.Shared); err != nil {
					return err
				}
			}
			return e.Runs.provisioned(ctx, tx, e.run, r, e.release.Hidden.States[r.UID])
		})
		if err == nil {
			e.log(ctx, name, "resource %s (%s) is provided by %s", r.Name, r.Type, r.Provisioner)
		}
		return r.Provisioner, err
	}
}

// deliver brings the release's objects into the target and takes out what it does not have any more.
func (e *execution) deliver(ctx context.Context, name string) (detail string, err error) {
	files, want, err := manifests(e.release, e.run.Application)
	if err != nil {
		return "", err
	}
	target := e.Directory
	if e.environment.Target.GitOps != nil {
		target = e.GitOps
	}
	have, err := e.Runs.items(ctx, e.Pool, e.run)
	if err != nil {
		return "", err
	}
	send := func(have []item) error {
		done, err := target.Deliver(ctx, Delivery{
			Environment: e.environment, Run: e.run, Write: files, Remove: obsolete(have, want, e.run.Application),
			Alive: func(ctx context.Context) error { return e.Runs.fence(ctx, e.Pool, e.run) },
			Log:   func(format string, args ...any) { e.log(ctx, name, format, args...) },
		})
		e.writes += done.Writes
		detail = done.Detail
		return err
	}
	keep := func(tx pgx.Tx) error {
		if err := e.Runs.fence(ctx, tx, e.run); err != nil {
			return err
		}
		return e.Runs.keep(ctx, tx, e.run, want)
	}
	if !touchesShared(have, want, e.run.Application) {
		if err := send(have); err != nil {
			return "", err
		}
		err = pgx.BeginFunc(ctx, e.Pool, keep)
		return detail, err
	}
	// The lock is held while files are delivered, so that two applications cannot give and take a shared object at the
	// same time.
	err = pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLockShared, e.run.Environment); err != nil {
			return fmt.Errorf("lock shared objects: %w", err)
		}
		if have, err = e.Runs.items(ctx, tx, e.run); err != nil {
			return err
		}
		if err := send(have); err != nil {
			return err
		}
		return keep(tx)
	})
	return detail, err
}

func touchesShared(have, want []item, application int64) bool {
	shared := func(i item) bool { return i.Unit == planner.UnitShared }
	return slices.ContainsFunc(want, shared) ||
		slices.ContainsFunc(have, func(i item) bool { return i.Application == application && shared(i) })
}

// retire lets go of resources that the release does not use any more.
func (e *execution) retire(ctx context.Context, name string) (detail string, err error) {
	kept := []string{}
	if e.release != nil {
		for _, r := range e.release.Resources {
			kept = append(kept, r.UID)
		}
	}
	var deleted []string
	err = pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
		if err := e.Runs.fence(ctx, tx, e.run); err != nil {
			return err
		}
		deleted, err = e.Runs.retire(ctx, tx, e.run.Environment, e.run.Name, kept)
		return err
	})
	for _, uid := range deleted {
		e.log(ctx, name, "resource %s is deleted", uid)
	}
	if len(deleted) == 0 {
		return "nothing to let go", err
	}
	return fmt.Sprintf("%d deleted", len(deleted)), err
}
