// Package directory delivers manifests into a folder: the target of the demo, and of whoever applies a folder by other
// means.
//
// Files are replaced atomically. A lock and a fence file per application keep a worker that was replaced from writing
// after its successor.
package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// Target writes below environments' folders.
type Target struct {
	// Data is the folder that relative paths start from.
	Data string
}

var _ apply.Target = (*Target)(nil)

// Deliver implements [apply.Target].
func (t *Target) Deliver(ctx context.Context, d apply.Delivery) (apply.Delivered, error) {
	root := d.Environment.Target.Directory.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(t.Data, root)
	}
	unlock, err := fence(root, d)
	if err != nil {
		return apply.Delivered{}, err
	}
	defer unlock()
	if err := d.Alive(ctx); err != nil {
		return apply.Delivered{}, err
	}
	written, removed := 0, 0
	for _, f := range d.Write {
		changed, err := write(filepath.Join(root, filepath.FromSlash(f.Path)), f)
		if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EEXIST) {
			return apply.Delivered{}, fault.New(fault.TargetForeign, "write %s: %w", f.Path, err)
		}
		if err != nil {
			return apply.Delivered{}, fmt.Errorf("write %s: %w", f.Path, err)
		}
		if changed {
			written++
			d.Log("wrote %s", f.Path)
		}
	}
	for _, path := range d.Remove {
		err := os.Remove(filepath.Join(root, filepath.FromSlash(path)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return apply.Delivered{}, fmt.Errorf("remove %s: %w", path, err)
		}
		if err == nil {
			removed++
			d.Log("removed %s", path)
		}
	}
	if len(d.Write) == 0 {
		// Only an empty folder goes: what others put there stays.
		_ = os.Remove(filepath.Join(root, d.Run.Name))
	}
	return apply.Delivered{Writes: written + removed, Detail: fmt.Sprintf("%d written, %d removed, %d as they were", written, removed, len(d.Write)-written)}, nil
}

// write replaces a file if its content or mode differs.
func write(path string, f apply.File) (changed bool, err error) {
	mode := fs.FileMode(0o644)
	if f.Secret {
		mode = 0o600
	}
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, f.Content) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() == mode {
			return false, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone after the rename
	_, err = temporary.Write(f.Content)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err != nil {
		return false, err
	}
	return true, os.Rename(temporary.Name(), path)
}

// fence locks the application's part of the folder and refuses a run whose token is older than one that was there.
func fence(root string, d apply.Delivery) (unlock func(), err error) {
	folder := filepath.Join(root, ".reconciler")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", root, err)
	}
	f, err := os.OpenFile(filepath.Join(folder, d.Run.Name+".fence"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open fence: %w", err)
	}
	unlock = func() { f.Close() } // closing gives the lock back
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		unlock()
		return nil, fmt.Errorf("lock fence: %w", err)
	}
	text := make([]byte, 32)
	n, _ := f.ReadAt(text, 0)
	if seen, err := strconv.ParseInt(strings.TrimSpace(string(text[:n])), 10, 64); err == nil && seen > d.Run.Token {
		unlock()
		return nil, fmt.Errorf("folder of %s: %w", d.Run.Name, queue.ErrLeaseLost)
	}
	if _, err := f.WriteAt([]byte(fmt.Sprintf("%-20d\n", d.Run.Token)), 0); err != nil {
		unlock()
		return nil, fmt.Errorf("write fence: %w", err)
	}
	return unlock, nil
}
