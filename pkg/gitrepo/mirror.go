package gitrepo

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Mirror is a copy of a remote on disk. It is safe for concurrent use; those that write to one directory take turns.
type Mirror struct {
	client *Client
	remote Remote
	store  *store
	// writing is held by who fetches, commits or pushes.
	writing chan struct{}
}

// directory is what mirrors of one directory share: credentials may differ from call to call, the packs do not.
type directory struct {
	mu      sync.Mutex
	store   *store
	writing chan struct{}
}

// OpenMirror opens the mirror of a remote in a directory, or makes it. remade is true if something was there that could
// not be used (damage, another remote, another file limit) and was thrown away. A directory belongs to one process and
// one client. Opening is cheap when it was done before.
func (c *Client) OpenMirror(dir string, r Remote) (m *Mirror, remade bool, err error) {
	if _, _, err := r.endpoint(); err != nil {
		return nil, false, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, false, fmt.Errorf("open mirror: %w", err)
	}
	d := c.directory(dir)
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := state{Version: stateVersion, Remote: r.String(), FileLimit: c.fileLimit()}
	if d.store == nil {
		d.store, remade, err = openStore(dir, fresh)
	} else {
		remade, err = d.renew(fresh)
	}
	if err != nil {
		return nil, remade, fmt.Errorf("open mirror of %s: %w", r, err)
	}
	return &Mirror{client: c, remote: r, store: d.store, writing: d.writing}, remade, nil
}

func (c *Client) directory(dir string) *directory {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.directories[dir]
	if !ok {
		d = &directory{writing: make(chan struct{}, 1)}
		c.directories[dir] = d
	}
	return d
}

// renew empties an open mirror that is damaged or of another remote. While somebody writes, a damaged one is left to
// whoever writes next.
func (d *directory) renew(fresh state) (remade bool, err error) {
	st, _ := d.store.snapshot()
	other := st.Remote != fresh.Remote
	if !other && !d.store.damaged.Load() && d.store.check() == nil {
		return false, nil
	}
	select {
	case d.writing <- struct{}{}:
		defer func() { <-d.writing }()
		return true, d.store.reset(fresh)
	default:
		if other {
			return false, fault.New(fault.MirrorDamaged, "the mirror is in use for another remote")
		}
		return false, nil
	}
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
