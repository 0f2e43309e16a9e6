package gitrepo

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
)

// packOf writes a pack from entries: heads with their inflated data.
func packOf(t testing.TB, entries ...[]byte) []byte {
	t.Helper()
	out := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(entries)))
	out = append(out, bytes.Join(entries, nil)...)
	sum := sha1.Sum(out)
	return append(out, sum[:]...)
}

func whole(t testing.TB, k kind, data []byte) []byte {
	return append(entryHeader(k, len(data)), deflate(t, data)...)
}

func refDelta(t testing.TB, base oid, delta []byte) []byte {
	return append(append(entryHeader(kindRefDelta, len(delta)), base[:]...), deflate(t, delta)...)
}

func ofsDelta(t testing.TB, back byte, delta []byte) []byte {
	return append(append(entryHeader(kindOfsDelta, len(delta)), back), deflate(t, delta)...)
}

// deltaOf writes a delta that copies the first n bytes of the base as often as it takes to have size bytes.
func deltaOf(base, n, size int) []byte {
	out := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(base)), uint64(size))
	for ; size > 0; size -= n {
		n = min(n, size)
		out = append(out, 0x80|0x10|0x20|0x40, byte(n), byte(n>>8), byte(n>>16))
	}
	return out
}

func indexOf(t testing.TB, pack []byte) (*index, bool, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "pack"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(pack); err != nil {
		t.Fatal(err)
	}
	raw, leftOut, err := indexPack(t.Context(), f, &inflaters{})
	if err != nil {
		return nil, false, err
	}
	x, err := decodeIndex(raw)
	if err != nil {
		t.Fatal(err)
	}
	return x, leftOut, nil
}

func TestDeltasAreResolvedInAnyOrder(t *testing.T) {
	t.Parallel()
	base := object{kindBlob, []byte("some text")}
	first := object{kindBlob, []byte("some")}
	second := object{kindBlob, []byte("so")}
	x, leftOut, err := indexOf(t, packOf(t, refDelta(t, first.id(), deltaOf(4, 2, 2)), refDelta(t, base.id(), deltaOf(9, 4, 4)), whole(t, kindBlob, base.data)))
	if err != nil || leftOut {
		t.Fatal(leftOut, err)
	}
	for _, o := range []object{base, first, second} {
		if _, ok := x.find(o.id()); !ok {
			t.Errorf("%q is not found", o.data)
		}
	}
	if _, ok := x.find(oid{1}); ok {
		t.Error("found what is not there")
	}
}

func TestDeltaBombsAreLeftOut(t *testing.T) {
	t.Parallel()
	base := object{kindBlob, bytes.Repeat([]byte("x"), 1<<20)}
	x, leftOut, err := indexOf(t, packOf(t, whole(t, kindBlob, base.data), refDelta(t, base.id(), deltaOf(1<<20, 1<<20, 1<<40))))
	if err != nil || !leftOut || x.count != 1 {
		t.Fatal(x, leftOut, err)
	}
}

// TestBasesHeldAtOnceAreBounded builds a chain in which every base has deltas that are still to be resolved.
func TestBasesHeldAtOnceAreBounded(t *testing.T) {
	if raced {
		t.Skip("hundreds of megabytes are put together")
	}
	t.Parallel()
	last := object{kindBlob, bytes.Repeat([]byte("x"), 1<<20)}
	entries := [][]byte{whole(t, kindBlob, last.data)}
	for i := range maxHeld/maxObject + 1 {
		data := bytes.Repeat([]byte("x"), maxObject-i)
		for _, size := range []int{1, 2, len(data)} { // what is named last is followed first
			entries = append(entries, refDelta(t, last.id(), deltaOf(len(last.data), min(size, 1<<19), size)))
		}
		last = object{kindBlob, data}
	}
	_, _, err := indexOf(t, packOf(t, entries...))
	wantCode(t, err, fault.PackTooLarge)
}

func TestMalformedPacksAreErrors(t *testing.T) {
	t.Parallel()
	good := packOf(t, whole(t, kindBlob, []byte("a")))
	wrongSum := bytes.Clone(good)
	wrongSum[len(wrongSum)-1] ^= 1
	tooMany := append([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff"), make([]byte, 20)...)
	for name, pack := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-21], "wrong sum": wrongSum, "too many objects": tooMany,
		"html":                  []byte("<html>" + strings.Repeat(" ", 100)),
		"kind 0":                packOf(t, append([]byte{0x01}, deflate(t, []byte("a"))...)),
		"kind 5":                packOf(t, append([]byte{0x51}, deflate(t, []byte("a"))...)),
		"longer than said":      packOf(t, append(entryHeader(kindBlob, 1), deflate(t, []byte("ab"))...)),
		"shorter":               packOf(t, append(entryHeader(kindBlob, 3), deflate(t, []byte("ab"))...)),
		"base before":           packOf(t, ofsDelta(t, 100, deltaOf(1, 1, 1))),
		"base is itself":        packOf(t, ofsDelta(t, 0, deltaOf(1, 1, 1))),
		"no base":               packOf(t, refDelta(t, oid{1}, deltaOf(1, 1, 1))),
		"delta of another base": packOf(t, whole(t, kindBlob, []byte("a")), refDelta(t, object{kindBlob, []byte("a")}.id(), deltaOf(7, 1, 1))),
		"more after":            packOf(t, append(whole(t, kindBlob, []byte("a")), "more"...)),
	} {
		if _, _, err := indexOf(t, pack); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzIndexPack(f *testing.F) {
	blob := object{kindBlob, []byte("some text")}
	f.Add(packOf(f, whole(f, kindBlob, blob.data), refDelta(f, blob.id(), deltaOf(9, 4, 4)))[packHead:])
	f.Add(packOf(f, whole(f, kindTree, nil), ofsDelta(f, 9, deltaOf(0, 0, 0)))[packHead:])
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) < hashBytes {
			return
		}
		pack := append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x02"), body[:len(body)-hashBytes]...)
		sum := sha1.Sum(pack)
		_, _, _ = indexOf(t, append(pack, sum[:]...))
	})
}

func FuzzAdvertisement(f *testing.F) {
	for _, seed := range []string{
		"001e# service=git-upload-pack\n0000000eversion 2\n0015agent=git/2.39.5\n0013ls-refs=unborn\n0027fetch=shallow wait-for-done filter\n0017object-format=sha1\n0000",
		"001e# service=git-upload-pack\n000000421111111111111111111111111111111111111111 HEAD\x00symref=HEAD:refs/heads/main filter\n0000",
		"0000", "0004", "fff1", "0000000eversion 1\n", "000eversion 2\n0001",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAdvertisement(bytes.NewReader(data))
		if err == nil {
			wellFormed(t, a.refs)
		}
	})
}

func FuzzLsRefs(f *testing.F) {
	for _, seed := range []string{
		"00301111111111111111111111111111111111111111 a\n0000", "0024unborn HEAD symref-target:refs/x\n0000",
		"00611111111111111111111111111111111111111111 refs/tags/v peeled:2222222222222222222222222222222222222222\n0000", "0005\n", "000dERR no\n", "0003", "zzzz",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		refs, err := parseLsRefs(bytes.NewReader(data))
		if err == nil {
			wellFormed(t, refs)
		}
		_, _ = parseReport(bytes.NewReader(data), "refs/heads/main")
		if s, err := findPack(bytes.NewReader(data), true); err == nil {
			_, _ = io.Copy(io.Discard, s)
		}
	})
}

func wellFormed(t *testing.T, r Refs) {
	t.Helper()
	for name, h := range r.Commits {
		if _, err := ParseHash(string(h)); err != nil || name == "" || h == "" {
			t.Fatalf("%q at %q", name, h)
		}
	}
}

func FuzzObjects(f *testing.F) {
	f.Add([]byte("100644 a\x0011111111111111111111"))
	f.Add([]byte("tree 1111111111111111111111111111111111111111\nauthor a <b> 1 +0100\n\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if list, err := parseTree(data); err == nil {
			for _, e := range list {
				if strings.Contains(e.name, "/") || e.name == ".." || e.name == "" {
					t.Fatalf("%+v", e)
				}
			}
		}
		_, _ = parseCommit(data)
		if x, err := decodeIndex(data); err == nil {
			x.find(oid{})
		}
	})
}

func TestImpossibleTreesAreRefused(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("1", hashBytes)
	for _, tree := range []string{
		"100644 ..\x00" + id, "100644 .\x00" + id, "40000 .git\x00" + id, "40000 .GIT\x00" + id, "100644 a/b\x00" + id, "100644 \x00" + id,
		"100644 b\x00" + id + "100644 a\x00" + id, "100644 a\x00" + id + "100644 a\x00" + id, "999 a\x00" + id, "10644 a\x00" + id, "100644 a\x001", "100644",
		"7777777777777777 a\x00" + id,
	} {
		if list, err := parseTree([]byte(tree)); err == nil {
			t.Errorf("%q: got %+v", tree, list)
		}
	}
	if !errors.Is(&sizeError{1}, errBig) {
		t.Error("a size error is no errBig")
	}
}
