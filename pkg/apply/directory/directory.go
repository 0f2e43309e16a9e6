// Package directory delivers manifests into a folder: the target of the demo, and of whoever applies a folder by other
// means.
//
// Files are replaced atomically. Whoever changes a folder of the target, an application's or the shared one, holds its lock from
// before asking whether the run is still its own until all is written: a worker that was replaced writes either before its
// successor or not at all. The application's fence file tells by its number when the database is not the one that it was.
package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
)

// lockWait is how long to wait before asking again for a lock that another worker holds.
const lockWait = 50 * time.Millisecond

// Target writes below environments' folders.
type Target struct {
	// Data is the folder that relative paths start from.
	Data string

	// locks leads to folders that others have locked, by target.
	locks apply.Lanes
}

var _ apply.Target = (*Target)(nil)

// Deliver implements [apply.Target].
func (t *Target) Deliver(ctx context.Context, d apply.Delivery) (apply.Delivered, error) {
	root := d.Environment.Target.Directory.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(t.Data, root)
	}
	former, err := d.Former(ctx)
	if err != nil {
		return apply.Delivered{}, err
	}
	unlock, err := t.fence(ctx, root, d, former)
	if err != nil {
		return apply.Delivered{}, err
	}
	defer unlock()
	if err := d.Alive(ctx); err != nil {
		return apply.Delivered{}, err
	}
	written, removed := 0, 0
	for _, f := range d.Write {
		changed, err := write(root, d.Run.Name, f)
		if foreign(err) {
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
		there, err := remove(root, path)
		if foreign(err) {
			// What we put there is gone already, and what took its place is somebody else's.
			d.Log("left %s alone: %v", path, err)
			continue
		}
		if err != nil {
			return apply.Delivered{}, fmt.Errorf("remove %s: %w", path, err)
		}
		if there {
			removed++
			d.Log("removed %s", path)
		}
	}
	empty := former
	if len(d.Write) == 0 {
		empty = append([]string{d.Run.Name}, empty...)
	}
	for _, folder := range empty {
		// Only an empty folder goes: what others put there stays.
		_ = os.Remove(filepath.Join(root, folder))
	}
	return apply.Delivered{Writes: written + removed, Detail: fmt.Sprintf("%d written, %d removed, %d as they were", written, removed, len(d.Write)-written)}, nil
}

// errForeign says that a folder or a manifest of ours is something else.
var errForeign = errors.New("it is not what we put there")

func foreign(err error) bool {
	for _, kind := range []error{errForeign, syscall.EISDIR, syscall.ENOTDIR, syscall.EEXIST, syscall.ENOTEMPTY} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// locate returns where a file of the target is. Folders below the root must be folders: a symlink would lead us, and
// whoever is served from the target, elsewhere.
func locate(root, name string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("%s leaves the folder: %w", name, errForeign)
	}
	path := filepath.Join(root, filepath.FromSlash(name))
	for dir := filepath.Dir(path); dir != filepath.Clean(root); dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err == nil && !info.IsDir() {
			return "", fmt.Errorf("%s is no folder: %w", dir, errForeign)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return path, nil
}

// remove deletes a file and says whether it was there.
func remove(root, name string) (there bool, err error) {
	path, err := locate(root, name)
	if err != nil {
		return false, err
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		return false, fmt.Errorf("%s is a folder: %w", name, errForeign)
	}
	return true, os.Remove(path)
}

// write replaces a file if its content or mode differs. It is written beside the fence first, under a name that only the
// application's run has, so that one that is killed leaves nothing among the manifests.
func write(root, application string, f apply.File) (changed bool, err error) {
	path, err := locate(root, f.Path)
	if err != nil {
		return false, err
	}
	mode := fs.FileMode(0o644)
	if f.Secret {
		mode = 0o600
	}
	if info, err := os.Lstat(path); err == nil && info.Mode() == mode { // a regular file
		if f.Keep {
			return false, nil
		}
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, f.Content) {
			return false, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	beside := filepath.Join(root, ".reconciler", application+".new")
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	temporary, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return false, err
	}
	_, err = temporary.Write(f.Content)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err != nil {
		return false, err
	}
	return true, os.Rename(beside, path)
}

// fence locks all folders that a delivery may change, unless others have one of them for long, and refuses a run whose token is
// older than one that was there.
func (t *Target) fence(ctx context.Context, root string, d apply.Delivery, former []string) (unlock func(), err error) {
	folder := filepath.Join(root, ".reconciler")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", root, err)
	}
	var files []*os.File
	free := func() {
		for _, f := range files {
			f.Close() // gives the lock back
		}
	}
	defer func() {
		if err != nil {
			free()
		}
	}()
	wait := waiting{lanes: &t.locks, root: root}
	defer func() { err = wait.end(ctx, err) }()
	var own *os.File
	for _, name := range folders(d, former) {
		f, err := os.OpenFile(filepath.Join(folder, name+".fence"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open fence: %w", err)
		}
		if files = append(files, f); name == d.Run.Name {
			own = f
		}
		// Who holds the lock may be a process that is stopped: whoever waits for it must be able to give up.
		lock := func() error {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			if errors.Is(err, syscall.EWOULDBLOCK) {
				err = wait.again(err)
			} else if err != nil {
				err = backoff.Permanent(err)
			}
			return err
		}
		if err := d.Retry(ctx, backoff.NewConstantBackOff(lockWait), lock); err != nil {
			return nil, fmt.Errorf("lock fence: %w", err)
		}
	}
	return free, number(ctx, own, folder, d)
}

// waiting is a delivery's wait for locks that others have.
type waiting struct {
	lanes *apply.Lanes
	root  string
	// place is nil until the first lock is taken already.
	place *apply.Place
	until time.Time
}

// again says whether to ask for a lock again: it returns why not, or the answer that the last question had.
func (w *waiting) again(answer error) (err error) {
	if w.place == nil {
		w.until = time.Now().Add(apply.TurnWait)
		w.place, err = w.lanes.Enter(w.root, "its turn at the folder "+w.root, apply.LaneWidth)
		if err != nil {
			return backoff.Permanent(err)
		}
	}
	if time.Now().After(w.until) {
		return backoff.Permanent(errLocked)
	}
	return answer
}

// end makes room for others that wait.
func (w *waiting) end(ctx context.Context, err error) error {
	switch {
	case w.place == nil:
	case errors.Is(err, errLocked):
		return w.place.GiveUp()
	default:
		w.place.End(ctx, err)
	}
	return err
}

// errLocked says that somebody has a lock for long.
var errLocked = errors.New("the folder is locked")

// folders are those that a delivery may change, in the order in which everybody locks them: the application's, those of names
// that it had, and the one of what is shared. Tokens of different applications come in no order, so that only the lock counts
// in folders that are not its own.
func folders(d apply.Delivery, former []string) []string {
	names := append([]string{d.Run.Name}, former...)
	for _, f := range d.Write {
		names = append(names, top(f.Path))
	}
	for _, path := range d.Remove {
		names = append(names, top(path))
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return !filepath.IsLocal(name) || name == "." })
}

// top is the folder of the target that a file of it is in, somewhere.
func top(path string) string {
	name, _, _ := strings.Cut(path, "/")
	return name
}

// number writes the run's token into the application's fence, unless a newer one is there.
func number(ctx context.Context, fence *os.File, folder string, d apply.Delivery) error {
	text := make([]byte, 32)
	n, _ := fence.ReadAt(text, 0)
	if seen, err := strconv.ParseInt(strings.TrimSpace(string(text[:n])), 10, 64); err == nil && seen > d.Run.Token {
		if err := d.Alive(ctx); err != nil {
			return err
		}
		// Nobody replaced us: the number is of another database.
		return fault.New(fault.TargetFenced, "the folder of %s was written under lease %d of another database; that of run %d is lease %d", d.Run.Name, seen, d.Run.ID, d.Run.Token).
			Do("If the database was made anew or restored and nobody else writes there, remove %s.", folder)
	}
	if _, err := fence.WriteAt([]byte(fmt.Sprintf("%-20d\n", d.Run.Token)), 0); err != nil {
		return fmt.Errorf("write fence: %w", err)
	}
	return nil
}
