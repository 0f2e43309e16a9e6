package gitrepo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// maxPacks is how many packs a mirror has before they are joined: each is an open file, and is looked through for every
	// object.
	maxPacks = 16
	// cacheLimit bounds the objects that are kept in memory per mirror, in bytes: the trees of a few thousand directories.
	cacheLimit = 8 << 20
	// stateVersion changes when mirrors of before cannot be used any more.
	stateVersion = 1
	stateFile    = "mirror.json"
)

// state is what is known about a mirror beside its packs. A pack that is not listed is not used, and one that is listed
// must be there: so nothing that was lost looks as if it had never existed.
type state struct {
	Version int    `json:"version"`
	Remote  string `json:"remote"`
	// FileLimit is the size from which blobs may be left out.
	FileLimit int64 `json:"file_limit"`
	// LeftOut: some blobs were left out for their size, so a missing blob is no damage.
	LeftOut bool        `json:"left_out"`
	Packs   []packState `json:"packs"`
	// Tips are commits that are here with all their history, newest first.
	Tips []Hash `json:"tips"`
}

type packState struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// store holds the objects of a mirror. It is safe for concurrent reads and one writer.
type store struct {
	dir       string
	inflaters inflaters
	// damaged is set by whoever meets an object that must be there and is not.
	damaged atomic.Bool

	mu    sync.RWMutex
	state state
	packs []*pack

	cacheMu    sync.Mutex
	cache      map[cacheKey]object
	cacheBytes int
}

type cacheKey struct {
	pack   *pack
	offset int64
}

func (s *store) packDir() string { return filepath.Join(s.dir, "objects", "pack") }

// openStore opens a mirror's objects. A directory that does not hold what it should is emptied, and remade says so.
func openStore(dir string, want state) (s *store, remade bool, err error) {
	s = &store{dir: dir, cache: map[cacheKey]object{}}
	switch err = s.load(want); {
	case err == nil:
		return s, false, nil
	case errors.Is(err, fs.ErrNotExist) && !exists(filepath.Join(dir, "objects")):
		return s, false, s.reset(want)
	default:
		return s, true, s.reset(want)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

var errState = errors.New("the mirror is not what it should be")

func (s *store) load(want state) error {
	text, err := os.ReadFile(filepath.Join(s.dir, stateFile))
	if err != nil {
		return err
	}
	var got state
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("%w: %w", errState, err)
	}
	if got.Version != want.Version || got.Remote != want.Remote || got.FileLimit != want.FileLimit {
		return fmt.Errorf("%w: it was made for something else", errState)
	}
	var packs []*pack
	for _, ps := range got.Packs {
		p, err := s.openPack(ps)
		if err != nil {
			return err
		}
		packs = append(packs, p)
	}
	s.state, s.packs = got, packs
	s.sweep()
	return nil
}

func (s *store) openPack(ps packState) (*pack, error) {
	if ps.Name != filepath.Base(ps.Name) {
		return nil, fmt.Errorf("%w: pack %q", errState, ps.Name)
	}
	raw, err := os.ReadFile(filepath.Join(s.packDir(), ps.Name+".idx"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	x, err := decodeIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	f, err := os.Open(filepath.Join(s.packDir(), ps.Name+".pack"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != ps.Bytes {
		f.Close()
		return nil, fmt.Errorf("%w: pack %s is not whole", errState, ps.Name)
	}
	return &pack{file: f, size: ps.Bytes, name: ps.Name, index: x}, nil
}

// sweep removes files that no state lists: left by a process that died while it wrote them.
func (s *store) sweep() {
	entries, err := os.ReadDir(s.packDir())
	if err != nil {
		return // the next write says it
	}
	for _, e := range entries {
		name := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".pack"), ".idx")
		if !slices.ContainsFunc(s.state.Packs, func(p packState) bool { return p.Name == name }) {
			_ = os.Remove(filepath.Join(s.packDir(), e.Name())) // only space is lost
		}
	}
}

// ownFiles are what a mirror's directory has.
const ownFiles = "HEAD config objects refs " + stateFile + " " + stateFile + ".new"

// gitConfig lets the git command read a mirror.
const gitConfig = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"

// reset empties the mirror. Readers that still use its packs keep their open files; the runtime closes those.
func (s *store) reset(fresh state) error {
	if err := s.clear(); err != nil {
		return unwritable(err)
	}
	for _, d := range []string{s.packDir(), filepath.Join(s.dir, "refs", "heads")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return unwritable(err)
		}
	}
	for name, text := range map[string]string{"HEAD": "ref: refs/heads/main\n", "config": gitConfig} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return unwritable(err)
		}
	}
	fresh.LeftOut, fresh.Packs, fresh.Tips = false, nil, nil
	if err := s.save(fresh, nil); err != nil {
		return err
	}
	s.damaged.Store(false)
	return nil
}

// clear removes what a mirror consists of, and nothing else: a wrong path in the configuration must not cost anybody's
// files.
func (s *store) clear() error {
	list, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range list {
		if !slices.Contains(strings.Fields(ownFiles), e.Name()) {
			return fmt.Errorf("%s holds %q, which is not a mirror's", s.dir, e.Name())
		}
	}
	for name := range strings.FieldsSeq(ownFiles) {
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// save replaces the state on disk, then in memory.
func (s *store) save(next state, packs []*pack) error {
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	temporary := filepath.Join(s.dir, stateFile+".new")
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return unwritable(err)
	}
	if err := os.Rename(temporary, filepath.Join(s.dir, stateFile)); err != nil {
		return unwritable(err)
	}
	s.mu.Lock()
	s.state, s.packs = next, packs
	s.mu.Unlock()
	s.cacheMu.Lock()
	s.cache, s.cacheBytes = map[cacheKey]object{}, 0
	s.cacheMu.Unlock()
	return nil
}

// snapshot returns what is there now.
func (s *store) snapshot() (state, []*pack) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state, s.packs
}

// check looks whether the mirror on disk is still the one that was opened.
func (s *store) check() error {
	st, _ := s.snapshot()
	if _, err := os.Lstat(filepath.Join(s.dir, stateFile)); err != nil {
		return fmt.Errorf("%w: %w", errState, err)
	}
	for _, p := range st.Packs {
		info, err := os.Lstat(filepath.Join(s.packDir(), p.Name+".pack"))
		if err != nil || info.Size() != p.Bytes {
			return fmt.Errorf("%w: pack %s is gone or cut", errState, p.Name)
		}
	}
	return nil
}

// temporary makes the file that a pack is received in.
func (s *store) temporary() (*os.File, error) {
	f, err := os.CreateTemp(s.packDir(), "receiving-*")
	if err != nil {
		return nil, unwritable(err)
	}
	return f, nil
}

// add indexes a pack that was received and makes it part of the mirror. A pack without objects is dropped.
func (s *store) add(ctx context.Context, f *os.File, filtered bool, tips ...Hash) error {
	idx, cut, err := indexPack(ctx, f, &s.inflaters)
	if err != nil {
		return err
	}
	st, packs := s.snapshot()
	next := st
	next.LeftOut = st.LeftOut || filtered || cut
	next.Tips = newTips(st.Tips, tips)
	if x, err := decodeIndex(idx); err != nil || x.count == 0 {
		return errors.Join(err, s.save(next, packs))
	}
	p, err := s.place(f, idx)
	if err != nil {
		return err
	}
	next.Packs = append(slices.Clone(st.Packs), packState{p.name, p.size})
	return s.save(next, append(slices.Clone(packs), p))
}

// place moves an indexed pack to where it belongs.
func (s *store) place(f *os.File, idx []byte) (*pack, error) {
	sum := idx[len(idx)-2*hashBytes : len(idx)-hashBytes]
	name := "pack-" + string(oid(sum).hash())
	path := filepath.Join(s.packDir(), name)
	if err := os.WriteFile(path+".idx", idx, 0o600); err != nil {
		return nil, unwritable(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, unwritable(err)
	}
	if err := os.Rename(f.Name(), path+".pack"); err != nil {
		return nil, unwritable(err)
	}
	return s.openPack(packState{name, info.Size()})
}

// maxTips is how many commits we say that we have: enough for the branches of a repository and their last moves.
const maxTips = 64

func newTips(old, add []Hash) []Hash {
	out := slices.Clone(add)
	for _, h := range old {
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out[:min(len(out), maxTips)]
}

// know notes a commit that the remote has now, too.
func (s *store) know(commit Hash) error {
	st, packs := s.snapshot()
	st.Tips = newTips(st.Tips, []Hash{commit})
	return s.save(st, packs)
}
