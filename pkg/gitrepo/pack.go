package gitrepo

import (
	"bufio"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

const (
	// packHead is the length of "PACK", version and count.
	packHead = 12
	// maxDeltas is the longest chain of deltas, as Git itself has it.
	maxDeltas = 4095
	// maxObject is the largest object that is put together from deltas in memory, in bytes: trees and commits beyond the
	// file limit must be readable (a directory of 100,000 files has 4 MB), and with it a hostile pack costs tens of
	// megabytes and not gigabytes.
	maxObject = 8 << 20
)

var (
	errPack    = errors.New("malformed pack")
	errMissing = errors.New("object is missing")
	errBig     = errors.New("object is too large")
)

// entry is one object of a pack as it is stored.
type entry struct {
	kind kind
	// size is that of the inflated data: the object's own, or the delta's.
	size int64
	// data is where the compressed data begins.
	data int64
	// base is the offset of a delta's base, or baseID names it.
	base   int64
	baseID oid
}

// pack is an indexed pack on disk. It does not change, and is safe for concurrent use.
type pack struct {
	file  *os.File
	size  int64
	name  string
	index *index
}

// entryHead is the most bytes that an entry has before its data.
const entryHead = 10 + hashBytes

// entryAt reads the head of the entry at an offset.
func entryAt(r io.ReaderAt, offset, end int64) (entry, error) {
	var buf [entryHead]byte
	n, err := r.ReadAt(buf[:min(entryHead, max(end-offset, 0))], offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return entry{}, fmt.Errorf("read pack: %w", err)
	}
	e, length, err := parseEntry(buf[:n], offset)
	e.data = offset + int64(length)
	return e, err
}

// parseEntry reads the head of an entry: type and size, and the base of a delta.
func parseEntry(b []byte, offset int64) (e entry, length int, err error) {
	short := fmt.Errorf("%w: entry at %d ends early", errPack, offset)
	if len(b) == 0 {
		return e, 0, short
	}
	c := b[0]
	e.kind, e.size, length = kind(c>>4&7), int64(c&15), 1
	for shift := 4; c&0x80 != 0; shift += 7 {
		if length >= len(b) || shift > 53 {
			return e, 0, short
		}
		c = b[length]
		length++
		e.size |= int64(c&0x7f) << shift
	}
	switch e.kind {
	case kindCommit, kindTree, kindBlob, kindTag:
	case kindRefDelta:
		if length+hashBytes > len(b) {
			return e, 0, short
		}
		length += copy(e.baseID[:], b[length:])
	case kindOfsDelta:
		back, n := parseBack(b[length:])
		if n == 0 || back <= 0 || back > offset-packHead {
			return e, 0, fmt.Errorf("%w: entry at %d has no base", errPack, offset)
		}
		e.base, length = offset-back, length+n
	default:
		return e, 0, fmt.Errorf("%w: entry at %d has %s", errPack, offset, e.kind)
	}
	return e, length, nil
}

// parseBack reads the distance to a delta's base; n is 0 if it is malformed.
func parseBack(b []byte) (back int64, n int) {
	for n < len(b) && n < 8 {
		c := b[n]
		back |= int64(c & 0x7f)
		n++
		if c&0x80 == 0 {
			return back, n
		}
		back = (back + 1) << 7
	}
	return 0, 0
}

// inflaters are used again: one allocates 40 KB.
type inflaters struct{ pool sync.Pool }

type inflater struct {
	in  *bufio.Reader
	out io.ReadCloser
}

// inflate reads data of a known size. More or less of it, or a wrong checksum, is an error.
func (f *inflaters) inflate(r io.Reader, size int64) ([]byte, error) {
	z, ok := f.pool.Get().(*inflater)
	var err error
	if !ok {
		z = &inflater{in: bufio.NewReader(r)}
		z.out, err = zlib.NewReader(z.in)
	} else {
		z.in.Reset(r)
		err = z.out.(zlib.Resetter).Reset(z.in, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPack, err)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(z.out, data); err != nil {
		return nil, fmt.Errorf("%w: %w", errPack, err)
	}
	if n, err := z.out.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: an entry is longer than it says: %w", errPack, err)
	}
	f.pool.Put(z)
	return data, nil
}

// deltaSizes reads the sizes of the base and of the result from the beginning of a delta.
func deltaSizes(delta []byte) (base, result int64, err error) {
	b, n := binary.Uvarint(delta)
	if n <= 0 || b > 1<<62 {
		return 0, 0, fmt.Errorf("%w: delta without sizes", errPack)
	}
	r, m := binary.Uvarint(delta[n:])
	if m <= 0 || r > 1<<62 {
		return 0, 0, fmt.Errorf("%w: delta without sizes", errPack)
	}
	return int64(b), int64(r), nil
}

// applyDelta makes an object from its base, within maxObject.
func applyDelta(base, delta []byte) ([]byte, error) {
	from, to, err := deltaSizes(delta)
	if err != nil {
		return nil, err
	}
	if to > maxObject {
		return nil, errBig
	}
	if from != int64(len(base)) {
		return nil, fmt.Errorf("%w: delta for a base of %d bytes, not %d", errPack, from, len(base))
	}
	out, err := packfile.PatchDelta(base, delta)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPack, err)
	}
	if int64(len(out)) != to {
		return nil, fmt.Errorf("%w: delta gives %d bytes, not %d", errPack, len(out), to)
	}
	return out, nil
}
