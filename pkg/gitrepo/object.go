package gitrepo

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/innominatus/reconciler/pkg/fault"
)

// objects is where objects are read from.
type objects interface {
	// get returns an object of at most limit bytes. errMissing and errBig say what they say; anything else is damage.
	get(id oid, limit int64) (object, error)
	// leftOut is true if blobs may be missing because they were too large.
	leftOut() bool
	// hurt notes that an object that must be there is missing or unreadable.
	hurt()
}

func (s *store) leftOut() bool {
	st, _ := s.snapshot()
	return st.LeftOut
}

func (s *store) hurt() { s.damaged.Store(true) }

// has says whether an object is in the mirror.
func (s *store) has(id oid) bool {
	_, _, ok := s.locate(id)
	return ok
}

func (s *store) locate(id oid) (*pack, int64, bool) {
	_, packs := s.snapshot()
	for i := len(packs) - 1; i >= 0; i-- { // what was fetched last is asked for most
		if offset, ok := packs[i].index.find(id); ok {
			return packs[i], offset, true
		}
	}
	return nil, 0, false
}

// get implements objects. What was read is checked against its name.
func (s *store) get(id oid, limit int64) (object, error) {
	p, offset, ok := s.locate(id)
	if !ok {
		return object{}, errMissing
	}
	if o, ok := s.cached(p, offset); ok {
		if int64(len(o.data)) > limit {
			return object{}, &sizeError{int64(len(o.data))}
		}
		return o, nil
	}
	o, err := s.read(p, offset, limit)
	if err != nil {
		return object{}, fmt.Errorf("object %s: %w", id.hash(), err)
	}
	if o.id() != id {
		return object{}, fmt.Errorf("object %s: %w: its content has another name", id.hash(), errPack)
	}
	if o.kind != kindBlob {
		s.keep(p, offset, o)
	}
	return o, nil
}

// sizeError says how large an object is that is too large.
type sizeError struct{ size int64 }

func (e *sizeError) Error() string        { return fmt.Sprintf("object has %d bytes", e.size) }
func (e *sizeError) Is(target error) bool { return target == errBig }

// read puts an object together from its deltas.
func (s *store) read(p *pack, offset, limit int64) (object, error) {
	end := p.size - hashBytes
	var deltas []entry
	var base object
	for at := offset; ; {
		if o, ok := s.cached(p, at); ok {
			base = o
			break
		}
		e, err := entryAt(p.file, at, end)
		if err != nil {
			return object{}, err
		}
		if e.kind < kindOfsDelta {
			if len(deltas) == 0 && e.size > limit {
				return object{}, &sizeError{e.size}
			}
			if e.size > maxObject {
				return object{}, errBig
			}
			data, err := s.inflate(p, e)
			if err != nil {
				return object{}, err
			}
			base = object{e.kind, data}
			break
		}
		if at = e.base; e.kind == kindRefDelta {
			var ok bool
			if at, ok = p.index.find(e.baseID); !ok {
				return object{}, fmt.Errorf("%w: base %s is not in it", errPack, e.baseID.hash())
			}
		}
		if deltas = append(deltas, e); len(deltas) > maxDeltas || e.size > maxObject {
			return object{}, fmt.Errorf("%w: too many or too large deltas", errPack)
		}
	}
	return s.applyAll(p, base, deltas, limit)
}

// applyAll applies the deltas, the last one first. The first one gives the object, and says how large that is.
func (s *store) applyAll(p *pack, base object, deltas []entry, limit int64) (object, error) {
	for i := len(deltas) - 1; i >= 0; i-- {
		delta, err := s.inflate(p, deltas[i])
		if err != nil {
			return object{}, err
		}
		if _, size, err := deltaSizes(delta); err == nil && i == 0 && size > limit {
			return object{}, &sizeError{size}
		}
		if base.data, err = applyDelta(base.data, delta); err != nil {
			return object{}, err
		}
	}
	return base, nil
}

func (s *store) inflate(p *pack, e entry) ([]byte, error) {
	return s.inflaters.inflate(io.NewSectionReader(p.file, e.data, p.size-hashBytes-e.data), e.size)
}

func (s *store) cached(p *pack, offset int64) (object, bool) {
	s.cacheMu.Lock()
	defer s.cacheMu.Unlock()
	o, ok := s.cache[cacheKey{p, offset}]
	return o, ok
}

// keep puts an object into the cache; a full one begins anew, which is simple and good enough for walking trees.
func (s *store) keep(p *pack, offset int64, o object) {
	s.cacheMu.Lock()
	defer s.cacheMu.Unlock()
	if len(o.data) > cacheLimit/4 {
		return
	}
	if s.cacheBytes += len(o.data); s.cacheBytes > cacheLimit {
		clear(s.cache)
		s.cacheBytes = len(o.data)
	}
	s.cache[cacheKey{p, offset}] = o
}

// mustGet reads an object that has to be there and of a kind; otherwise the mirror is damaged.
func mustGet(from objects, id oid, k kind) (object, error) {
	o, err := from.get(id, maxObject)
	if err == nil && o.kind != k {
		err = fmt.Errorf("it is a %s", o.kind)
	}
	if errors.Is(err, errBig) {
		return o, fault.New(fault.TreeInvalid, "%s %s has more than %d bytes", k, id.hash(), maxObject)
	}
	if err != nil {
		from.hurt()
		return o, fault.New(fault.MirrorDamaged, "%s %s cannot be read: %w", k, id.hash(), err)
	}
	return o, nil
}

func unwritable(err error) error {
	return fault.New(fault.MirrorUnwritable, "%w", err)
}

// sumWriter hashes what it writes.
type sumWriter struct {
	w io.Writer
	h hash.Hash
}

func newSumWriter(w io.Writer) *sumWriter { return &sumWriter{w, sha1.New()} }

func (s *sumWriter) Write(p []byte) (int, error) {
	s.h.Write(p)
	return s.w.Write(p)
}

func (s *sumWriter) sum() oid { return oid(s.h.Sum(nil)) }
