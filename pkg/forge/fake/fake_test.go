package fake_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/forge/fake"
	"github.com/innominatus/reconciler/pkg/forge/forgetest"
)

func TestFakeKeepsThePromisesOfAForge(t *testing.T) {
	t.Parallel()
	forgetest.Run(t, func(*testing.T) (forge.Forge, forgetest.World) {
		f := fake.New()
		return f, &world{forge: f}
	})
}

func TestAnswerThatIsLostLeavesWhatHappened(t *testing.T) {
	t.Parallel()
	f := fake.New()
	f.AddRepository("o/r")
	p := f.AddPull("o/r", forge.Pull{Title: "One"})
	lost := errors.New("connection reset")
	f.After(func(fake.Call) error { return lost })
	if _, err := f.CreateComment(t.Context(), "o/r", p.Number, "x"); !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
	f.After(nil)
	if got, err := f.Comments(t.Context(), "o/r", p.Number); err != nil || len(got) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got := f.Calls(); len(got) != 1 || got[0].Method != "CreateComment" {
		t.Errorf("calls %+v", got)
	}
}

// world is the other side of the fake.
type world struct {
	forge *fake.Forge
	count atomic.Int64
}

var _ forgetest.World = (*world)(nil)

func (w *world) NewRepository(*testing.T) string {
	name := fmt.Sprintf("org/repo-%d", w.count.Add(1))
	w.forge.AddRepository(name)
	return name
}

func (w *world) NewCommit(_ *testing.T, repository string) string {
	return w.forge.AddCommit(repository)
}

func (w *world) OpenPull(_ *testing.T, repository, title string, fork bool) forgetest.Opened {
	p := w.forge.AddPull(repository, forge.Pull{Title: title, Author: "jane", HeadRef: "topic", Fork: fork})
	return forgetest.Opened{Number: p.Number, Author: p.Author, HeadRef: p.HeadRef, HeadCommit: p.HeadCommit}
}

func (w *world) MergePull(_ *testing.T, repository string, number int64) string {
	return w.forge.MergePull(repository, number)
}

func (w *world) ClosePull(_ *testing.T, repository string, number int64) {
	w.forge.ClosePull(repository, number)
}

func (w *world) Statuses(_ *testing.T, repository, commit string) map[string]forge.Status {
	return w.forge.Statuses(repository, commit)
}

func (w *world) WriteComment(_ *testing.T, repository string, number int64, body string) (string, int64) {
	return "jane", w.forge.AddComment(repository, number, "jane", body)
}

func (w *world) DeleteComment(_ *testing.T, repository string, id int64) {
	w.forge.RemoveComment(repository, id)
}

func (w *world) SmallPages(*testing.T) forge.Forge { return w.forge } // it has no pages

func (w *world) WrongToken(*testing.T) forge.Forge {
	w.forge.Before(fake.Refused)
	return w.forge
}

func (w *world) Down(*testing.T) forge.Forge {
	w.forge.Before(fake.Down)
	return w.forge
}

func (w *world) Garbled(t *testing.T) forge.Forge { return w.Down(t) } // it has no answers that could be garbled

func (w *world) Limited(_ *testing.T, wait time.Duration) forge.Forge {
	w.forge.Before(fake.Limited(wait))
	return w.forge
}

func (w *world) Hanging(*testing.T) forge.Forge {
	w.forge.Before(fake.Hanging)
	return w.forge
}
