package reconcile

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/planner"
)

// matching says which known application each document of a tree is. A workload's name tells it first, its path second: a
// file that is moved stays what it was, and one whose name changes at its place is a rename.
type matching struct {
	repository string
	mine, all  []planner.Application
	broken     map[string]bool
	known      []*planner.Application
	claimed    map[int64]bool
	// fresh are names that new applications of the tree take, by name with who takes them.
	fresh map[string]string
}

func newMatching(repository string, docs []document, all []planner.Application) *matching {
	m := &matching{
		repository: repository, all: all, broken: map[string]bool{}, known: make([]*planner.Application, len(docs)),
		claimed: map[int64]bool{}, fresh: map[string]string{},
	}
	for _, a := range all {
		if a.Repository == repository {
			m.mine = append(m.mine, a)
		}
	}
	for _, d := range docs {
		if d.workload == nil {
			m.broken[d.path] = true
		}
	}
	m.claim(docs, func(d document, a planner.Application) bool {
		return d.path == a.Path && d.workload != nil && d.workload.Name == a.Name
	})
	m.claim(docs, func(d document, a planner.Application) bool {
		return d.workload != nil && d.workload.Name == a.Name && !m.unreadable(a)
	})
	m.claim(docs, func(d document, a planner.Application) bool { return d.path == a.Path })
	return m
}

// claim gives documents without an application the first free one that fits.
func (m *matching) claim(docs []document, fits func(document, planner.Application) bool) {
	for i, d := range docs {
		for j := range m.mine {
			if a := &m.mine[j]; m.known[i] == nil && !m.claimed[a.ID] && fits(d, *a) {
				m.known[i], m.claimed[a.ID] = a, true
			}
		}
	}
}

// unreadable says that the file where an application was is there and cannot be read.
func (m *matching) unreadable(a planner.Application) bool {
	file, _, _ := strings.Cut(a.Path, "#")
	return m.broken[file]
}

// owner returns who has a name if it is not the given application; "" if it is free.
func (m *matching) owner(name string, me *planner.Application) string {
	for _, a := range m.all {
		if a.Name == name && (me == nil || a.ID != me.ID) {
			return a.Repository + " " + a.Path
		}
	}
	if me != nil && me.Name == name {
		return ""
	}
	return m.fresh[name]
}

// move notes the new places of known applications, and puts those that are gone out of the way of others.
func (r *Reconciler) move(ctx context.Context, tx pgx.Tx, v *view) error {
	places, taken := map[int64]string{}, map[string]bool{}
	for _, f := range v.findings {
		taken[f.path] = taken[f.path] || !f.gone
	}
	for _, f := range v.findings {
		switch {
		case f.known == nil:
		case f.gone && taken[f.path]:
			places[f.known.ID] = fmt.Sprintf("%s (gone, application %d)", f.path, f.known.ID)
		case f.path != f.known.Path:
			places[f.known.ID] = f.path
		}
	}
	return r.Planner.Move(ctx, tx, places)
}
