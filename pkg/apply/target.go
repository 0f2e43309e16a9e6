package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cenkalti/backoff/v4"

	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
)

// Target brings files into the world.
type Target interface {
	// Deliver makes the target hold what the delivery says. It writes nothing that is there already. Before it changes what
	// others can see it calls Alive, in a way that a successor's changes come after its own or refuse them. Where others are
	// before it, it waits no longer than [TurnWait] and fails with [Busy].
	Deliver(ctx context.Context, d Delivery) (Delivered, error)
}

// Delivery is what a target shall hold of one application.
type Delivery struct {
	Environment *platform.Environment
	Run         Run
	// Write are the files that shall be there, sorted by path; Remove those that shall not, dependents first. Paths are
	// relative to the environment's folder.
	Write  []File
	Remove []string
	// Former returns the names that the application had before and that nobody else has by now: what a target made for them
	// beside the manifests goes too. Who builds on what others may have changed asks after looking at that.
	Former func(ctx context.Context) ([]string, error)
	// Stays are the folders, named as the application is or was, where something of it stays that is not written: what holds data,
	// and nobody confirmed that it goes.
	Stays []string
	// Shared says whether the environment has shared objects after the delivery; nil if the delivery has nothing to do with
	// them.
	Shared *bool
	// Contested says that the run before this one began and did not succeed: what it pushed may still be on its way, and a
	// target that cannot fence must see to it that it is refused when it arrives.
	Contested bool
	// Superseded is closed when a newer release waits: who has written nothing yet leaves with [queue.ErrSuperseded], and who
	// has begun goes on. nil means never.
	Superseded <-chan struct{}
	// Alive fails when another worker took the run over.
	Alive func(ctx context.Context) error
	// Log tells people what happens.
	Log func(format string, args ...any)
}

// Retry tries something until it works, its error is permanent, or the waits end. It waits no longer when a newer release
// waits for the run to end.
func (d Delivery) Retry(ctx context.Context, waits backoff.BackOff, attempt func() error) error {
	waiting, leave := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-d.Superseded:
			leave(queue.ErrSuperseded)
		case <-waiting.Done():
		}
	})
	err := backoff.Retry(attempt, backoff.WithContext(waits, waiting))
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(waiting), queue.ErrSuperseded) {
		err = queue.ErrSuperseded
	}
	leave(nil)
	watch.Wait()
	return err
}

// list says what is written and removed, for people.
func (d Delivery) list() []byte {
	var b bytes.Buffer
	for _, f := range d.Write {
		short := digest(f.Content)[:12]
		if f.Secret {
			short = "(secret)    " // a digest would let short values be guessed
		}
		fmt.Fprintf(&b, "%s  %s\n", short, f.Path)
	}
	for _, path := range d.Remove {
		fmt.Fprintf(&b, "removed       %s\n", path)
	}
	return b.Bytes()
}

// File is a manifest.
type File struct {
	Path    string
	Content []byte
	// Keep says that it is written only if nothing is there: others decide what it holds.
	Keep bool
	// Secret says that it holds secret values: readable by its owner alone, and never in Git.
	Secret bool
	// resource is the UID of the resource that it belongs to, "" for the workload's own.
	resource string
}

// Delivered is what a delivery did.
type Delivered struct {
	// Writes counts the files that were written or removed; 0 means that nothing outside changed.
	Writes int
	// Detail says it in a few words.
	Detail string
}
