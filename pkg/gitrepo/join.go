package gitrepo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// join makes one pack of many. The largest stays as it is if it is larger than the others together, so that a large
// repository is not copied again and again.
func (s *store) join(ctx context.Context) error {
	st, packs := s.snapshot()
	var kept, small []*pack
	total, largest := int64(0), slices.MaxFunc(packs, func(a, b *pack) int { return cmp.Compare(a.size, b.size) })
	for _, p := range packs {
		total += p.size
	}
	for _, p := range packs {
		if p == largest && p.size > total-p.size {
			kept = append(kept, p)
		} else {
			small = append(small, p)
		}
	}
	f, err := s.temporary()
	if err != nil {
		return err
	}
	defer f.Close()
	defer func() { _ = os.Remove(f.Name()) }() // it has another name if it was taken
	idx, err := joinPacks(ctx, f, small)
	if err != nil {
		return err
	}
	joined, err := s.place(f, idx)
	if err != nil {
		return err
	}
	st.Packs = nil
	kept = append(kept, joined)
	for _, p := range kept {
		st.Packs = append(st.Packs, packState{p.name, p.size})
	}
	if err := s.save(st, kept); err != nil {
		return err
	}
	s.sweep()
	return nil
}

// joinPacks writes the entries of packs into one and returns its index. Entries keep their bytes: a delta names its base
// by the distance in the same pack, or by its name.
func joinPacks(ctx context.Context, f *os.File, packs []*pack) ([]byte, error) {
	count := uint32(0)
	for _, p := range packs {
		n, err := p.entries()
		if err != nil {
			return nil, err
		}
		count += n
	}
	w := newSumWriter(f)
	if _, err := w.Write(binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), count)); err != nil {
		return nil, unwritable(err)
	}
	var items []indexItem
	at := int64(packHead)
	for _, p := range packs {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		body := p.size - packHead - hashBytes
		if at+body > maxOffset {
			return nil, errBig
		}
		for i := range p.index.count {
			it := p.index.item(i)
			it.offset += uint32(at - packHead)
			items = append(items, it)
		}
		if _, err := io.Copy(w, io.NewSectionReader(p.file, packHead, body)); err != nil {
			return nil, unwritable(err)
		}
		at += body
	}
	trailer := w.sum()
	if _, err := f.Write(trailer[:]); err != nil {
		return nil, unwritable(err)
	}
	return encodeIndex(items, trailer), nil
}

// entries returns how many objects the pack says that it has.
func (p *pack) entries() (uint32, error) {
	var head [packHead]byte
	if _, err := p.file.ReadAt(head[:], 0); err != nil {
		return 0, fmt.Errorf("read pack: %w", err)
	}
	if !bytes.HasPrefix(head[:], []byte("PACK")) {
		return 0, errPack
	}
	return binary.BigEndian.Uint32(head[8:]), nil
}
