package queue

import (
	"context"
	"slices"
	"strings"
)

// KindStatus is how a kind of jobs does.
type KindStatus struct {
	Kind string `json:"kind"`
	// Ready jobs could start or wait for their time, blocked ones wait for an earlier one of their key.
	Ready   int64 `json:"ready"`
	Blocked int64 `json:"blocked"`
	Running int64 `json:"running"`
	// OldestSeconds is how long the oldest ready job has been kept from starting.
	OldestSeconds float64 `json:"oldestSeconds"`
	// Pause is what keeps jobs of the kind from starting, if anything does: one of all kinds, or of this one.
	Pause *Pause `json:"pause,omitempty"`
}

// Status tells of each kind that has jobs now, or a handler here, in the order of their names.
func (q *Queue) Status(ctx context.Context) ([]KindStatus, error) {
	stats, err := q.Stats(ctx)
	if err != nil {
		return nil, err
	}
	pauses, err := q.Pauses(ctx)
	if err != nil {
		return nil, err
	}
	kinds := q.kinds()
	for _, s := range stats {
		kinds = append(kinds, s.Kind)
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	out := make([]KindStatus, len(kinds))
	for i, kind := range kinds {
		out[i].Kind = kind
		// That of all kinds is the first.
		if p := slices.IndexFunc(pauses, func(p Pause) bool { return p.Kind == "" || p.Kind == kind }); p >= 0 {
			out[i].Pause = &pauses[p]
		}
	}
	for _, s := range stats {
		i, _ := slices.BinarySearchFunc(out, s.Kind, func(k KindStatus, kind string) int { return strings.Compare(k.Kind, kind) })
		switch s.State {
		case Blocked:
			out[i].Blocked = s.Count
		case Ready:
			out[i].Ready, out[i].OldestSeconds = s.Count, s.Oldest.Seconds()
		default:
			out[i].Running = s.Count
		}
	}
	return out, nil
}
