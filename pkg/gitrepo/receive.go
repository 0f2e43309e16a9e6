package gitrepo

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/go-git/go-git/v5/plumbing/hash"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// maxObjects is how many objects a pack may have: indexing takes about 60 bytes of memory for each.
	maxObjects = 4 << 20
	// maxHeld is how many bytes of bases are held at once while deltas are resolved: Git's own packs need less than ten
	// objects at once, a hostile one could need thousands.
	maxHeld = 128 << 20
)

// record is an object of a pack that is being indexed.
type record struct {
	offset int64
	size   int64
	data   int64
	id     oid // of a delta by name: its base, until it is resolved
	kind   kind
	known  bool
	// first and next chain the deltas with this object as base; 0 is none, else the position plus 1.
	first, next uint32
}

// indexer indexes a pack in bounded memory: objects are inflated as streams, and only bases of deltas are held.
type indexer struct {
	file    *os.File
	end     int64 // where the trailer begins
	records []record
	// waiting are deltas whose base is named and not seen yet.
	waiting map[oid][]uint32
	// leftOut is true if some object was too large to be put together from deltas.
	leftOut   bool
	held      int64
	inflaters *inflaters
}

// indexPack reads a pack and returns its index. Objects beyond maxObject that are deltas are left out, and leftOut says so.
func indexPack(ctx context.Context, file *os.File, inflaters *inflaters) (idx []byte, leftOut bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("index pack: %w", err)
	}
	if info.Size() < packHead+hashBytes || info.Size() > maxOffset {
		return nil, false, fmt.Errorf("%w: %d bytes", errPack, info.Size())
	}
	x := &indexer{file: file, end: info.Size() - hashBytes, waiting: map[oid][]uint32{}, inflaters: inflaters}
	if err := x.scan(ctx); err != nil {
		return nil, false, err
	}
	for i := range x.records {
		if x.records[i].kind >= kindOfsDelta {
			continue
		}
		if err := x.resolve(ctx, uint32(i)); err != nil {
			return nil, false, err
		}
	}
	return x.write(ctx)
}

// byteCounter counts what zlib takes; it reads byte by byte, so that nothing beyond an entry is taken.
type byteCounter struct {
	r *bufio.Reader
	n int64
}

func (c *byteCounter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (c *byteCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// scan walks through the entries, hashes whole objects and chains deltas to their bases.
func (x *indexer) scan(ctx context.Context) error {
	in := &byteCounter{r: bufio.NewReaderSize(io.NewSectionReader(x.file, 0, x.end), 64<<10)}
	var head [packHead]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return fmt.Errorf("%w: %w", errPack, err)
	}
	count := binary.BigEndian.Uint32(head[8:])
	if !bytes.Equal(head[:8], []byte("PACK\x00\x00\x00\x02")) {
		return fmt.Errorf("%w: it begins with %q", errPack, head[:8])
	}
	if count > maxObjects {
		return fault.New(fault.PackTooLarge, "the pack has %d objects, the limit is %d", count, maxObjects)
	}
	var z io.ReadCloser
	buf := make([]byte, 32<<10)
	for range count {
		r, err := x.head(in)
		if err != nil {
			return err
		}
		if z == nil {
			z, err = zlib.NewReader(in)
		} else {
			err = z.(zlib.Resetter).Reset(in, nil)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errPack, err)
		}
		if err := x.content(ctx, r, z, buf); err != nil {
			return err
		}
	}
	if in.n != x.end {
		return fmt.Errorf("%w: %d bytes after the last object", errPack, x.end-in.n)
	}
	return nil
}

// head reads the head of the next entry and notes it.
func (x *indexer) head(in *byteCounter) (*record, error) {
	peek, err := in.r.Peek(entryHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	e, length, err := parseEntry(peek, in.n)
	if err != nil {
		return nil, err
	}
	r := record{offset: in.n, size: e.size, data: in.n + int64(length), kind: e.kind, id: e.baseID}
	if _, err := in.r.Discard(length); err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	in.n += int64(length)
	position := uint32(len(x.records))
	switch e.kind {
	case kindCommit, kindTree, kindBlob, kindTag: // whole
	case kindOfsDelta:
		base, ok := slices.BinarySearchFunc(x.records, e.base, func(r record, at int64) int { return int(r.offset - at) })
		if !ok {
			return nil, fmt.Errorf("%w: entry at %d has no base", errPack, r.offset)
		}
		r.next = x.records[base].first
		x.records[base].first = position + 1
	case kindRefDelta:
		x.waiting[e.baseID] = append(x.waiting[e.baseID], position)
	}
	x.records = append(x.records, r)
	return &x.records[position], nil
}

// content inflates an entry to find its end, and hashes it if it is a whole object.
func (x *indexer) content(ctx context.Context, r *record, z io.Reader, buf []byte) error {
	var h hash.Hash
	switch {
	case r.kind >= kindOfsDelta:
	case r.size > maxObject:
		// It will never be read, so forgery does not matter; and this hash is ten times as fast.
		h = sha1.New()
		fmt.Fprintf(h, "%s %d\x00", r.kind, r.size)
	default:
		h = newObjectHash(r.kind, r.size)
	}
	var n int64
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		k, err := z.Read(buf)
		n += int64(k)
		if h != nil {
			h.Write(buf[:k])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errPack, err)
		}
		if n > r.size {
			break
		}
	}
	if n != r.size {
		return fmt.Errorf("%w: entry at %d has not the size that it says", errPack, r.offset)
	}
	if h != nil {
		r.id, r.known = oid(h.Sum(nil)), true
	}
	return nil
}

// frame is a base whose deltas are being resolved.
type frame struct {
	object object
	next   uint32 // the delta to resolve next, plus 1
}

// resolve puts together all deltas that rest on a whole object, depth first. A base is let go before its last delta is
// followed, so that a long chain holds two objects and not all of them.
func (x *indexer) resolve(ctx context.Context, root uint32) error {
	x.adopt(root)
	r := &x.records[root]
	if r.first == 0 {
		return nil
	}
	if r.size > maxObject {
		x.leftOut = true
		return nil
	}
	data, err := x.inflate(r)
	if err != nil {
		return err
	}
	stack := []frame{{object{r.kind, data}, r.first}}
	x.held = int64(len(data))
	for len(stack) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		top := &stack[len(stack)-1]
		base, delta := top.object, &x.records[top.next-1]
		at := top.next - 1
		if top.next = delta.next; top.next == 0 {
			x.held -= int64(len(base.data))
			stack = stack[:len(stack)-1]
		}
		o, ok, err := x.apply(base, delta)
		if err != nil {
			return err
		}
		if !ok {
			x.leftOut = true
			continue
		}
		delta.id, delta.known = o.id(), true
		x.adopt(at)
		if delta.first == 0 {
			continue
		}
		if x.held += int64(len(o.data)); x.held > maxHeld {
			return fault.New(fault.PackTooLarge, "the pack needs more than %d MiB of memory", maxHeld>>20)
		}
		stack = append(stack, frame{o, delta.first})
	}
	return nil
}

// adopt chains the deltas that wait for an object by its name.
func (x *indexer) adopt(at uint32) {
	r := &x.records[at]
	for _, w := range x.waiting[r.id] {
		x.records[w].next = r.first
		r.first = w + 1
	}
	delete(x.waiting, r.id)
}

func (x *indexer) inflate(r *record) ([]byte, error) {
	return x.inflaters.inflate(io.NewSectionReader(x.file, r.data, x.end-r.data), r.size)
}

// apply makes the object of a delta; ok is false if that is too large.
func (x *indexer) apply(base object, r *record) (o object, ok bool, err error) {
	if r.size > maxObject {
		return o, false, nil
	}
	delta, err := x.inflate(r)
	if err != nil {
		return o, false, err
	}
	data, err := applyDelta(base.data, delta)
	if errors.Is(err, errBig) {
		return o, false, nil
	}
	return object{base.kind, data}, err == nil, err
}

// write checks the pack's checksum and returns the index.
func (x *indexer) write(ctx context.Context) ([]byte, bool, error) {
	if len(x.waiting) > 0 {
		if !x.leftOut {
			return nil, false, fmt.Errorf("%w: bases of %d deltas are not in it", errPack, len(x.waiting))
		}
	}
	sum := sha1.New()
	in := io.TeeReader(bufio.NewReaderSize(io.NewSectionReader(x.file, 0, x.end), 256<<10), sum)
	if _, err := io.CopyN(io.Discard, in, packHead); err != nil {
		return nil, false, fmt.Errorf("index pack: %w", err)
	}
	items := make([]indexItem, 0, len(x.records))
	for i, r := range x.records {
		if err := context.Cause(ctx); err != nil {
			return nil, false, err
		}
		end := x.end
		if i+1 < len(x.records) {
			end = x.records[i+1].offset
		}
		crc := crc32.NewIEEE()
		if _, err := io.CopyN(crc, in, end-r.offset); err != nil {
			return nil, false, fmt.Errorf("index pack: %w", err)
		}
		if r.known {
			items = append(items, indexItem{r.id, crc.Sum32(), uint32(r.offset)})
		}
	}
	trailer := make([]byte, hashBytes)
	if _, err := x.file.ReadAt(trailer, x.end); err != nil {
		return nil, false, fmt.Errorf("index pack: %w", err)
	}
	if !bytes.Equal(trailer, sum.Sum(nil)) {
		return nil, false, fmt.Errorf("%w: its checksum is wrong", errPack)
	}
	return encodeIndex(items, oid(trailer)), x.leftOut, nil
}
