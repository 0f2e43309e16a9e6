package gitrepo

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// The layout of a pack's index, version 2. https://git-scm.com/docs/gitformat-pack
const (
	indexHead    = 8 + 256*4
	indexTail    = 2 * hashBytes
	indexPerItem = hashBytes + 4 + 4
	// maxOffset is the largest offset in the index's short form. Packs are kept below it.
	maxOffset = 1<<31 - 1
)

var indexMagic = []byte{0xff, 't', 'O', 'c', 0, 0, 0, 2}

var errIndex = errors.New("not an index of a pack")

// indexItem is one object of a pack.
type indexItem struct {
	id     oid
	crc    uint32
	offset uint32
}

// index finds objects in a pack; it is the content of the .idx file.
type index struct {
	raw   []byte
	count int
}

// encodeIndex writes the index of a pack. An object that is there twice is listed once.
func encodeIndex(items []indexItem, packSum oid) []byte {
	slices.SortFunc(items, func(a, b indexItem) int { return bytes.Compare(a.id[:], b.id[:]) })
	items = slices.CompactFunc(items, func(a, b indexItem) bool { return a.id == b.id })
	out := make([]byte, 0, indexHead+len(items)*indexPerItem+indexTail)
	out = append(out, indexMagic...)
	next := 0
	for first := range 256 {
		for next < len(items) && int(items[next].id[0]) <= first {
			next++
		}
		out = binary.BigEndian.AppendUint32(out, uint32(next))
	}
	for _, it := range items {
		out = append(out, it.id[:]...)
	}
	for _, it := range items {
		out = binary.BigEndian.AppendUint32(out, it.crc)
	}
	for _, it := range items {
		out = binary.BigEndian.AppendUint32(out, it.offset)
	}
	out = append(out, packSum[:]...)
	sum := sha1.Sum(out)
	return append(out, sum[:]...)
}

// decodeIndex checks an index and makes it searchable.
func decodeIndex(raw []byte) (*index, error) {
	if len(raw) < indexHead+indexTail || !bytes.HasPrefix(raw, indexMagic) {
		return nil, errIndex
	}
	body := raw[:len(raw)-hashBytes]
	if sum := sha1.Sum(body); !bytes.Equal(sum[:], raw[len(body):]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errIndex)
	}
	x := &index{raw: raw, count: (len(raw) - indexHead - indexTail) / indexPerItem}
	last := uint32(0)
	for first := range 256 {
		n := x.fanout(first)
		if n < last {
			return nil, fmt.Errorf("%w: its fan-out falls", errIndex)
		}
		last = n
	}
	if int(last) != x.count || len(raw) != indexHead+indexTail+x.count*indexPerItem {
		return nil, fmt.Errorf("%w: its length does not fit", errIndex)
	}
	return x, nil
}

func (x *index) fanout(first int) uint32 { return binary.BigEndian.Uint32(x.raw[8+4*first:]) }

func (x *index) id(i int) []byte {
	at := indexHead + i*hashBytes
	return x.raw[at : at+hashBytes]
}

func (x *index) item(i int) indexItem {
	crcs := indexHead + x.count*hashBytes
	offsets := crcs + 4*x.count
	return indexItem{oid(x.id(i)), binary.BigEndian.Uint32(x.raw[crcs+4*i:]), binary.BigEndian.Uint32(x.raw[offsets+4*i:])}
}

// find returns where in the pack an object is.
func (x *index) find(id oid) (offset int64, ok bool) {
	low := 0
	if id[0] > 0 {
		low = int(x.fanout(int(id[0]) - 1))
	}
	high := int(x.fanout(int(id[0])))
	i := low + sort.Search(high-low, func(i int) bool { return bytes.Compare(x.id(low+i), id[:]) >= 0 })
	if i >= high || !bytes.Equal(x.id(i), id[:]) {
		return 0, false
	}
	return int64(x.item(i).offset), true
}
