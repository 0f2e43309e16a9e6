package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Want is a commit to fetch.
type Want struct {
	Commit Hash
	// Ref is the full name of a ref that had the commit; it is used where the server does not give commits by their hash.
	Ref string
}

// ErrNotFound: the remote does not have what was asked for. It may be there in a moment.
var ErrNotFound = errors.New("the remote does not have it")

// Fetch brings commits with their whole history into the mirror. Commits that are there cost nothing.
//
// [ErrNotFound] is in the chain of errors if the remote does not have a commit (yet).
func (m *Mirror) Fetch(ctx context.Context, wants ...Want) error {
	ctx, cancel := m.client.withTimeout(ctx)
	defer cancel()
	unlock, err := m.lock(ctx)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", m.remote, explain(ctx, err))
	}
	defer unlock()
	if err := m.fetch(ctx, m.missing(wants)); err != nil {
		return fmt.Errorf("fetch %s: %w", m.remote, err)
	}
	return nil
}

func (m *Mirror) missing(wants []Want) []Want {
	var out []Want
	for _, w := range wants {
		if !m.Has(w.Commit) {
			out = append(out, w)
		}
	}
	return out
}

func (m *Mirror) fetch(ctx context.Context, wants []Want) error {
	if len(wants) == 0 {
		return nil
	}
	for _, w := range wants {
		if _, ok := w.Commit.oid(); !ok {
			return fault.New(fault.CommitMissing, "%.60q is not the name of a commit", string(w.Commit))
		}
	}
	a, err := m.client.advertised(ctx, m.remote)
	if err != nil {
		return err
	}
	err = errByRef
	if a.givesAny(wants) {
		err = m.exchange(ctx, a, hashes(wants))
	}
	_, said := errors.AsType[*remoteError](err)
	if said || errors.Is(err, errByRef) {
		err = m.fetchByRef(ctx, a, wants, err)
	}
	if err != nil {
		return explain(ctx, err)
	}
	if left := m.missing(wants); len(left) > 0 {
		return fault.New(fault.CommitMissing, "commit %s: %w", left[0].Commit, ErrNotFound)
	}
	return m.tidy(ctx)
}

// errByRef: the server gives only what its refs point to.
var errByRef = errors.New("the remote gives commits by ref only")

// givesAny says whether the server may be asked for all of the commits by their hashes.
func (a advertisement) givesAny(wants []Want) bool {
	if a.version == 2 || a.can("allow-reachable-sha1-in-want", "") || a.can("allow-any-sha1-in-want", "") {
		return true
	}
	for _, w := range wants {
		if !slices.Contains(slices.Collect(maps.Values(a.direct)), w.Commit) {
			return false
		}
	}
	return true
}

func hashes(wants []Want) []Hash {
	out := make([]Hash, len(wants))
	for i, w := range wants {
		out[i] = w.Commit
	}
	return out
}

// fetchByRef fetches what the refs of the wanted commits point to now: the server did not give them by hash.
func (m *Mirror) fetchByRef(ctx context.Context, a advertisement, wants []Want, cause error) error {
	points, err := m.pointers(ctx, a, wants)
	if err != nil {
		return err
	}
	var tips []Hash
	for _, w := range wants {
		if points[w.Ref] == w.Commit && !errors.Is(cause, errByRef) {
			return cause // the server shows the commit, and yet did not give it: it has another problem
		}
	}
	for _, h := range points {
		if !m.Has(h) {
			tips = append(tips, h)
		}
	}
	if len(tips) == 0 {
		return nil // the caller sees what is missing
	}
	return m.exchange(ctx, a, tips)
}

// pointers returns what the refs of the wanted commits point to, or all branches if one has no ref.
func (m *Mirror) pointers(ctx context.Context, a advertisement, wants []Want) (map[string]Hash, error) {
	all := a.direct
	if a.version == 2 {
		refs, err := m.client.listRefs(ctx, m.remote, refNames(wants))
		if err != nil {
			return nil, err
		}
		all = refs.Commits
	}
	out := map[string]Hash{}
	for name, h := range all {
		for _, n := range refNames(wants) {
			if name == n || n == heads && strings.HasPrefix(name, heads) {
				out[name] = h
			}
		}
	}
	return out, nil
}

const heads = "refs/heads/"

func refNames(wants []Want) []string {
	var names []string
	for _, w := range wants {
		if w.Ref == "" {
			return []string{heads}
		}
		names = append(names, w.Ref)
	}
	return names
}

// exchange asks for commits and takes the pack.
func (m *Mirror) exchange(ctx context.Context, a advertisement, wants []Hash) error {
	st, _ := m.store.snapshot()
	var body io.ReadCloser
	var err error
	filtered := a.can("filter", "")
	if a.version == 2 {
		filtered = a.can("fetch", "filter")
		body, err = m.client.post(ctx, m.remote, a, m.askV2(wants, st.Tips, filtered))
	} else {
		if !a.can("side-band-64k", "") {
			return fault.New(fault.GitProtocol, "the remote is too old: it does not know side-band-64k")
		}
		body, err = m.client.post(ctx, m.remote, a, m.askV0(wants, st.Tips, filtered))
	}
	if err != nil {
		return err
	}
	defer body.Close()
	stream, err := findPack(body, a.version == 2)
	if err != nil {
		return err
	}
	return m.receive(ctx, stream, filtered, wants)
}

// filterSpec leaves out blobs that are larger than what is read.
func (m *Mirror) filterSpec() string {
	return fmt.Sprintf("blob:limit=%d", m.client.fileLimit()+1)
}

func (m *Mirror) askV2(wants, haves []Hash, filtered bool) *pktWriter {
	w := &pktWriter{}
	w.linef("command=fetch\n")
	w.linef("agent=%s\n", m.client.config.Agent)
	w.linef("object-format=sha1\n")
	w.delim()
	w.linef("ofs-delta\n")
	w.linef("no-progress\n")
	if filtered {
		w.linef("filter %s\n", m.filterSpec())
	}
	for _, h := range wants {
		w.linef("want %s\n", h)
	}
	for _, h := range haves {
		w.linef("have %s\n", h)
	}
	w.linef("done\n")
	w.flush()
	return w
}

func (m *Mirror) askV0(wants, haves []Hash, filtered bool) *pktWriter {
	w := &pktWriter{}
	capabilities := "side-band-64k ofs-delta no-progress agent=" + m.client.config.Agent
	if filtered {
		capabilities += " filter"
	}
	for i, h := range wants {
		if i == 0 {
			w.linef("want %s %s\n", h, capabilities)
		} else {
			w.linef("want %s\n", h)
		}
	}
	if filtered {
		w.linef("filter %s\n", m.filterSpec())
	}
	w.flush()
	for _, h := range haves {
		w.linef("have %s\n", h)
	}
	w.linef("done\n")
	return w
}

// findPack skips what comes before the pack.
func findPack(r io.Reader, v2 bool) (*sideband, error) {
	s := &sideband{pkts: newPktReader(r)}
	for {
		k, body, err := s.pkts.next()
		switch {
		case err != nil:
			return nil, ended(err)
		case k == pktData && bytes.HasPrefix(body, []byte("ERR ")):
			return nil, &remoteError{said: plain(string(body[4:]))}
		case v2 && k == pktData && string(bytes.TrimSuffix(body, []byte("\n"))) == "packfile":
			return s, nil
		case v2 && (k == pktFlush || k == pktEnd):
			return nil, fmt.Errorf("%w: no pack", errAnswer)
		case v2:
		case k != pktData:
			return nil, fmt.Errorf("%w: no pack", errAnswer)
		case bytes.HasPrefix(body, []byte("NAK")) || bytes.HasPrefix(body, []byte("ACK ")):
		default:
			return s, s.take(k, body)
		}
	}
}

// receive writes a pack to disk, not more of it than is allowed, and makes it part of the mirror.
func (m *Mirror) receive(ctx context.Context, stream *sideband, filtered bool, tips []Hash) error {
	f, err := m.store.temporary()
	if err != nil {
		return err
	}
	defer f.Close()
	defer func() { _ = os.Remove(f.Name()) }() // it has another name if it was taken
	limit := m.client.config.MaxPackBytes
	n, err := io.Copy(f, io.LimitReader(stream, limit+1))
	if disk, ok := errors.AsType[*fs.PathError](err); ok {
		return unwritable(disk)
	}
	if err != nil {
		return err
	}
	if n > limit {
		return fault.New(fault.PackTooLarge, "the remote sends more than %d MiB", limit>>20)
	}
	if err := m.store.add(ctx, f, filtered, tips...); err != nil {
		if errors.Is(err, errPack) {
			return fault.New(fault.GitProtocol, "%w", err)
		}
		return err
	}
	return nil
}

// tidy joins packs when there are many. If they are together too large for one, the mirror is fetched anew next time.
func (m *Mirror) tidy(ctx context.Context) error {
	if st, _ := m.store.snapshot(); len(st.Packs) <= maxPacks {
		return nil
	}
	err := m.store.join(ctx)
	if errors.Is(err, errBig) {
		m.store.hurt()
		return nil
	}
	return err
}
