package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/queue"
)

// step is a node of the graph with what it does. do returns what it did in a few words.
type step struct {
	name  string
	needs []string
	do    func(ctx context.Context, name string) (result, error)
}

// steps returns the run's graph in an order that respects it: resources first, then the delivery, which removes what is
// obsolete before its resources are let go.
func (e *execution) steps() []step {
	var list []step
	var first, names []string
	if e.run.Kind == Rollback {
		list = append(list, step{name: "check", do: e.check})
		first, names = []string{"check"}, []string{"check"}
	}
	if e.run.together() {
		list = append(list, step{name: meetStep, do: e.meet})
		first, names = []string{meetStep}, []string{meetStep}
	}
	if e.release != nil {
		for _, r := range e.release.Resources {
			s := step{name: "provision " + r.UID, needs: first, do: e.provision(r)}
			list, names = append(list, s), append(names, s.name)
		}
	}
	deliver := "deliver"
	if e.release == nil {
		deliver = "remove"
	}
	return append(list,
		step{name: deliver, needs: names, do: e.deliver},
		step{name: "retire", needs: []string{deliver}, do: e.retire})
}

// provision stores a resource with its state; templates and static values were evaluated while planning.
func (e *execution) provision(r planner.Resource) func(context.Context, string) (result, error) {
	return func(ctx context.Context, name string) (result, error) {
		err := e.fenced(ctx, func(tx pgx.Tx) error {
			if e.release.Hidden.Shared != nil {
				if err := e.Runs.storeShared(ctx, tx, e.run.Environment, e.release.Hidden.Shared); err != nil {
					return err
				}
			}
			return e.Runs.provisioned(ctx, tx, e.run, r, e.release.Hidden.Records[r.UID])
		})
		if err == nil {
			e.log(ctx, name, "resource %s (%s) is provided by %s", r.Name, r.Type, r.Provisioner)
		}
		return result{detail: r.Provisioner}, err
	}
}

// deliver brings the release's objects into the target and takes out what it does not have any more.
func (e *execution) deliver(ctx context.Context, name string) (result, error) {
	files, want, err := manifests(e.release, e.run.Application)
	if err != nil {
		return result{}, err
	}
	have, err := e.Runs.items(ctx, e.Pool, e.run)
	if err != nil {
		return result{}, err
	}
	var objects []planner.Object
	if e.release != nil {
		objects = e.release.Objects
	}
	err = e.fenced(ctx, func(tx pgx.Tx) error { return e.Runs.claim(ctx, tx, e.run, want, objects) })
	if err != nil {
		return result{}, err
	}
	spared, err := e.spare(ctx)
	if err != nil {
		return result{}, err
	}
	stay := spared.among(have, e.run.Application)
	want = append(want, stay...)
	contested, err := e.Runs.contested(ctx, e.Pool, e.run)
	if err != nil {
		return result{}, err
	}
	d := Delivery{Environment: e.environment, Run: e.run, Write: files, Contested: contested, Superseded: e.superseded, Stays: folders(stay)}
	var done Delivered
	if touchesShared(have, want, e.run.Application) {
		done, err = e.deliverShared(ctx, name, &d, want)
	} else {
		d.Remove = obsolete(have, want, e.run.Application)
		done, err = e.deliverOwn(ctx, name, d, want)
	}
	if err != nil {
		return result{}, err
	}
	e.leave(ctx, name, "files.txt", "text/plain; charset=utf-8", d.list())
	return result{detail: done.Detail, outputs: map[string]any{"writes": int64(done.Writes)}}, nil
}

// deliverOwn delivers what no other application has to do with.
func (e *execution) deliverOwn(ctx context.Context, name string, d Delivery, want []item) (Delivered, error) {
	d.Alive = func(ctx context.Context) error { return e.Runs.alive(ctx, e.Pool, e.run) }
	d.Former = func(ctx context.Context) ([]string, error) { return e.Runs.former(ctx, e.Pool, e.run) }
	d.Log = func(format string, args ...any) { e.log(ctx, name, format, args...) }
	done, err := e.target().Deliver(ctx, d)
	if err == nil {
		err = pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error { return e.keep(ctx, tx, want, done) })
	}
	return done, err
}

const (
	// sharedWait is the first wait for another run that touches shared objects, and sharedLimit the longest.
	sharedWait, sharedLimit = 20 * time.Millisecond, time.Second
)

var errSharedBusy = errors.New("another run touches shared objects")

// deliverShared delivers while no other run of the environment touches shared objects, so that two applications cannot
// give and take one at the same time. Who waits holds no connection, and who delivers holds one and needs no other: the
// pool cannot run dry. Nor can the workers: few wait, and not for long.
func (e *execution) deliverShared(ctx context.Context, name string, d *Delivery, want []item) (done Delivered, err error) {
	place, err := e.shared.Enter(e.run.Environment, "its turn at what applications of "+e.run.Environment+" share", LaneWidth)
	if err != nil {
		return done, err
	}
	inside := true
	defer func() {
		if inside { // a target panicked
			place.Leave(Unknown)
		}
	}()
	var lines []string // written at the end: that takes another connection
	d.Log = func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	attempt := func() error {
		err := pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error {
			var ours bool
			if err := tx.QueryRow(ctx, sqlLockShared, e.run.Environment).Scan(&ours); err != nil {
				return fmt.Errorf("lock shared objects: %w", err)
			}
			if !ours {
				return errSharedBusy
			}
			have, err := e.Runs.items(ctx, tx, e.run)
			if err != nil {
				return err
			}
			others, err := e.Runs.describedByOthers(ctx, tx, e.run)
			if err != nil {
				return err
			}
			for i, f := range d.Write {
				d.Write[i].Keep = strings.HasPrefix(f.Path, SharedFolder+"/") && others[f.resource]
			}
			d.Remove = obsolete(have, want, e.run.Application)
			some := slices.ContainsFunc(want, isShared) ||
				slices.ContainsFunc(have, func(i item) bool { return i.Application != e.run.Application && isShared(i) })
			d.Shared = &some
			var line sync.Mutex
			d.Alive = func(ctx context.Context) error {
				line.Lock()
				defer line.Unlock()
				return e.Runs.alive(ctx, tx, e.run)
			}
			d.Former = func(ctx context.Context) ([]string, error) {
				line.Lock()
				defer line.Unlock()
				return e.Runs.former(ctx, tx, e.run)
			}
			asleep := keepAwake(ctx, tx, &line)
			done, err = e.target().Deliver(ctx, *d)
			asleep()
			if err != nil {
				return err
			}
			return e.keep(ctx, tx, want, done)
		})
		if err != nil && !errors.Is(err, errSharedBusy) {
			return backoff.Permanent(err)
		}
		return err
	}
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(sharedWait), backoff.WithMaxInterval(sharedLimit), backoff.WithMaxElapsedTime(TurnWait))
	err = d.Retry(ctx, wait, attempt)
	inside = false
	if errors.Is(err, errSharedBusy) {
		err = place.GiveUp()
	} else {
		place.End(ctx, err)
	}
	for _, line := range lines {
		e.log(ctx, name, "%s", line)
	}
	return done, err
}

// awakePeriod is how often a transaction is used while its target is written: well below the shortest lease, after which the
// database ends one whose process is gone.
const awakePeriod = time.Second

// keepAwake uses a transaction now and then, under a lock that its other users take, until the returned function is called.
func keepAwake(ctx context.Context, tx pgx.Tx, line sync.Locker) (asleep func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(awakePeriod)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			line.Lock()
			_, _ = tx.Exec(context.WithoutCancel(ctx), `SELECT 1`) // who writes next sees what is wrong
			line.Unlock()
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

func (e *execution) target() Target {
	if e.environment.Target.GitOps != nil {
		return e.GitOps
	}
	return e.Directory
}

// keep stores what a delivery left in the target.
func (e *execution) keep(ctx context.Context, tx pgx.Tx, want []item, done Delivered) error {
	if err := e.change(ctx, tx, sqlWrote, done.Writes); err != nil {
		return err
	}
	return e.Runs.keep(ctx, tx, e.run, want)
}

// change changes the run's own row, if the run is ours.
func (e *execution) change(ctx context.Context, tx pgx.Tx, statement string, value any) error {
	tag, err := tx.Exec(ctx, statement, e.run.ID, e.run.Token, value)
	if err == nil && tag.RowsAffected() == 0 {
		err = queue.ErrLeaseLost
	}
	return fault.While(fmt.Sprintf("change run %d", e.run.ID), err)
}

func isShared(i item) bool { return i.Unit == planner.UnitShared }

func touchesShared(have, want []item, application int64) bool {
	return slices.ContainsFunc(want, isShared) ||
		slices.ContainsFunc(have, func(i item) bool { return i.Application == application && isShared(i) })
}

// retire lets go of resources that the release does not use any more.
func (e *execution) retire(ctx context.Context, name string) (result, error) {
	spared, err := e.spare(ctx)
	if err != nil {
		return result{}, err
	}
	stay := append([]string{}, spared.uids...)
	kept := slices.Clone(stay)
	if e.release != nil {
		for _, r := range e.release.Resources {
			kept = append(kept, r.UID)
		}
	}
	var deleted []string
	err = e.fenced(ctx, func(tx pgx.Tx) (err error) {
		deleted, err = e.Runs.retire(ctx, tx, e.run, kept, stay)
		return err
	})
	for _, uid := range deleted {
		e.log(ctx, name, "resource %s is deleted", uid)
	}
	if len(deleted) == 0 {
		return result{detail: "nothing to let go"}, err
	}
	return result{detail: fmt.Sprintf("%d deleted", len(deleted))}, err
}
