package gitrepo

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Mirror is a copy of a remote on disk. It is safe for concurrent use; fetches of one mirror take turns.
type Mirror struct {
	client *Client
	remote Remote
	store  *store
	// writing is held by who fetches or commits.
	writing chan struct{}
}

// OpenMirror opens the mirror of a remote in a directory, or makes it. remade is true if something was there that could
// not be used (damage, another remote, another file limit) and was thrown away. A directory belongs to one process.
func (c *Client) OpenMirror(dir string, r Remote) (m *Mirror, remade bool, err error) {
	if _, _, err := r.endpoint(); err != nil {
		return nil, false, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, false, fmt.Errorf("open mirror: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.mirrors[dir]; ok && m.remote == r && m.store.check() == nil && !m.store.damaged.Load() {
		return m, false, nil
	}
	s, remade, err := openStore(dir, state{Remote: r.String(), FileLimit: c.fileLimit()})
	if err != nil {
		return nil, remade, fmt.Errorf("open mirror of %s: %w", r, err)
	}
	m = &Mirror{client: c, remote: r, store: s, writing: make(chan struct{}, 1)}
	c.mirrors[dir] = m
	return m, remade, nil
}

// fileLimit is the largest file; beyond maxObject nothing is put together in memory.
func (c *Client) fileLimit() int64 { return min(c.config.MaxFileBytes, maxObject) }

// lock takes the mirror for writing, and makes it anew if it is damaged.
func (m *Mirror) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case m.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	unlock = func() { <-m.writing }
	if m.store.damaged.Load() || m.store.check() != nil || m.tooLarge() {
		st, _ := m.store.snapshot()
		if err := m.store.reset(st); err != nil {
			unlock()
			return nil, err
		}
	}
	return unlock, nil
}

// tooLarge: what was rewritten away stays in packs, so a mirror beyond twice the limit of a fetch is fetched anew.
func (m *Mirror) tooLarge() bool {
	st, _ := m.store.snapshot()
	total := int64(0)
	for _, p := range st.Packs {
		total += p.Bytes
	}
	return total > 2*m.client.config.MaxPackBytes
}

// Has says whether a commit is in the mirror.
func (m *Mirror) Has(commit Hash) bool {
	id, ok := commit.oid()
	return ok && m.store.has(id)
}

// commitObject reads a commit that may not have been fetched.
func (m *Mirror) commitObject(h Hash) (commitObject, error) {
	id, ok := h.oid()
	if !ok {
		return commitObject{}, fault.New(fault.CommitMissing, "%.60q is not the name of a commit", string(h))
	}
	if m.store.damaged.Load() {
		return commitObject{}, fault.New(fault.MirrorDamaged, "the mirror of %s is damaged", m.remote)
	}
	if !m.store.has(id) {
		return commitObject{}, fault.New(fault.CommitMissing, "commit %s was not fetched", h)
	}
	return readCommit(m.store, id)
}
