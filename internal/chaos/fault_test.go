//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
)

const (
	// slowest is the longest delay of a slow connection; a statement or a call of the API takes several.
	slowest = 400 * time.Millisecond
	// farthest is how far a clock is stepped at most: several leases, and less than anybody wants to wait for in the end.
	farthest = 20 * time.Second
	// repairLimit bounds what a fault on Postgres takes beside its length: a new standby takes seconds.
	repairLimit = 2 * time.Minute
	// staleLock is how old a lock of a ref is that no git has any more: a push has it for milliseconds.
	staleLock = 20 * time.Second
)

// begin brings a fault about and returns what lifts it.
func (w *world) begin(s strike) (lift func() error, err error) {
	r := w.replicas[s.server]
	nothing := func() error { return nil }
	switch s.kind {
	case "kill":
		r.kill(s.length)
		return nothing, nil
	case "stop":
		// Longer than the lease in any case: whoever wakes up finds that others have its work.
		r.signal(syscall.SIGSTOP)
		return func() error { <-time.After(lease); r.signal(syscall.SIGCONT); return nil }, nil
	case "disk":
		return func() error { return os.Remove(r.filler()) }, r.fill()
	case "database restart":
		return nothing, w.repair(func(ctx context.Context) error { return w.database.Restart(ctx, syscall.SIGINT) })
	case "database crash":
		return nothing, w.repair(func(ctx context.Context) error { return w.database.Restart(ctx, syscall.SIGQUIT) })
	case "failover":
		return func() error { return w.repair(w.database.Rejoin) }, w.repair(w.database.Failover)
	case "clock forward", "clock back":
		by := time.Duration(s.size * float64(farthest))
		if s.kind == "clock back" {
			by = -by
		}
		return func() error { return w.clock.Set(0) }, w.clock.Set(by)
	default:
		return w.disturb(s)
	}
}

func (w *world) repair(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(w.Context(), repairLimit)
	defer cancel()
	return f(ctx)
}

// ways are the connections that a fault is about: Gitea's, the office's, those of one server to the database, or, in a third
// of the cases, those of all servers.
func (w *world) ways(whose string, s strike) (list []*testenv.ToxicProxy) {
	switch whose {
	case "gitea":
		return []*testenv.ToxicProxy{w.toGitea}
	case "office":
		return []*testenv.ToxicProxy{w.toOffice}
	}
	for i := range w.toDatabase {
		if i == s.server || s.size > 2.0/3 {
			list = append(list, w.toDatabase[i][:]...)
		}
	}
	return list
}

// disturb does something to connections.
func (w *world) disturb(s strike) (lift func() error, err error) {
	whose, what, _ := strings.Cut(s.kind, " ")
	ways := w.ways(whose, s)
	var errs []error
	for _, way := range ways {
		switch what {
		case "slow":
			errs = append(errs, way.Delay(int(s.size*float64(slowest.Milliseconds()))+2))
		case "silent":
			errs = append(errs, way.Swallow())
		case "reset":
			errs = append(errs, way.Reset())
		case "cut":
			way.Cut()
		}
	}
	return func() error {
		var errs []error
		for _, way := range ways {
			errs = append(errs, way.Mend())
		}
		return errors.Join(errs...)
	}, errors.Join(errs...)
}

// strike brings about all faults of a track, each at its time, or after the one before was lifted.
func (w *world) strike(list []strike) error {
	for _, s := range list {
		if wait := time.Until(w.began.Add(s.at)); wait > 0 {
			<-time.After(wait)
		}
		w.say("%s begins (server %d, size %.2f)", s.kind, s.server, s.size)
		began := time.Now()
		lift, err := w.begin(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.kind, err)
		}
		if wait := s.length - time.Since(began); wait > 0 {
			<-time.After(wait)
		}
		if err := lift(); err != nil {
			return fmt.Errorf("lift %s: %w", s.kind, err)
		}
		if strings.HasPrefix(s.kind, "office") || strings.HasPrefix(s.kind, "database") || s.kind == "failover" {
			w.guide.disturbed(began)
		}
		w.say("%s is lifted after %.1f s", s.kind, time.Since(began).Seconds())
		w.counts.add("fault " + s.kind)
		w.unlock()
	}
	return nil
}

// unlock takes away what Gitea leaves behind when a client is gone in the middle of a push, and nobody else would.
func (w *world) unlock() {
	n, err := w.gitea.Unlock(staleLock)
	if n > 0 || err != nil {
		w.say("%d stale locks in Gitea's repositories: %v", n, err)
	}
}
