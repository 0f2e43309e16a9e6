package score

import (
	"slices"

	"github.com/innominatus/reconciler/pkg/fault"
)

// report collects the faults of one or more files.
type report struct {
	sources []*source
	faults  fault.List
	// more counts the faults that were not kept; stopping counts all that stop, kept or not.
	more, stopping int
	// broken holds the documents that could not be read without faults; they are looked at, but never returned.
	broken map[*Node]bool
}

// add keeps a fault. Whether it is a warning must be known by then.
func (r *report) add(f *fault.Fault) {
	if f.Severity == fault.Error {
		r.stopping++
	}
	if r.full() {
		r.more++
		return
	}
	r.faults = append(r.faults, f)
}

// full says that no further fault is kept.
func (r *report) full() bool { return len(r.faults) >= maxCollected }

// breaks marks a document as broken.
func (r *report) breaks(doc *Node) {
	if r.broken == nil {
		r.broken = map[*Node]bool{}
	}
	r.broken[doc] = true
}

// nearest returns the word that was probably meant. Among very many it does not look: that would take too long.
func (r *report) nearest(word string, candidates []string) string {
	if len(candidates) > maxCandidates || r.full() {
		return ""
	}
	return fault.Nearest(word, candidates)
}

// nearestKey returns the key of a map that was probably meant.
func (r *report) nearestKey(key string, n *Node) string {
	if n == nil || len(n.Entries) > maxCandidates {
		return ""
	}
	return r.nearest(key, n.keys())
}

func (r *report) source(name string) *source { return sourceOf(r.sources, name) }

func sourceOf(sources []*source, name string) *source {
	for _, s := range sources {
		if s.name == name {
			return s
		}
	}
	return nil
}

// done returns the faults in order of place, each once, with their source lines, and not more than [maxFaults].
func (r *report) done() fault.List {
	if len(r.faults) == 0 {
		return nil
	}
	r.faults.Sort()
	out := slices.CompactFunc(r.faults, func(a, b *fault.Fault) bool {
		return a.Place == b.Place && a.Code == b.Code && a.Message == b.Message
	})
	if over := len(out) - maxFaults + r.more; over > 0 && len(out) > maxFaults {
		out = append(out[:maxFaults], fault.New(fault.ScoreMore, "%d more faults are not shown", over).
			At(fault.Place{File: out[0].Place.File}))
	}
	for _, f := range out {
		if src := r.source(f.Place.File); src != nil {
			f.Show(src.shown())
		}
	}
	return out
}
