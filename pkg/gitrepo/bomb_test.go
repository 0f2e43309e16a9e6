package gitrepo

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

func TestPackBeyondTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	k := newKitWith(t, gitserver.Options{}, ClientConfig{MaxPackBytes: 100})
	c := k.Commit("main", map[string]string{"f": "some text that is in the pack", "g": "and some more text here"})
	err := k.mirror.Fetch(t.Context(), Want{Hash(c), "refs/heads/main"})
	if f := wantCode(t, err, fault.PackTooLarge); f.Class() != fault.Refused {
		t.Error(f.Class())
	}
}

// plantZeros puts a commit with a file of zeros, which compress to a thousandth, into the repository of a server.
func plantZeros(t *testing.T, k *kit, path string, mebibytes int) Hash {
	t.Helper()
	block := make([]byte, 1<<20)
	blob := sha1.New()
	fmt.Fprintf(blob, "blob %d\x00", mebibytes<<20)
	var zipped bytes.Buffer
	z, err := zlib.NewWriterLevel(&zipped, zlib.BestCompression)
	must(t, err)
	for range mebibytes {
		blob.Write(block)
		_, err := z.Write(block)
		must(t, err)
	}
	must(t, z.Close())
	ok, b := object{kindBlob, []byte("ok")}, newBuilder(nil)
	tree := b.putTree([]treeEntry{{modeFile, path, oid(blob.Sum(nil))}, {modeFile, "ok.yaml", b.put(ok)}})
	commit := b.put(object{kindCommit, encodeCommit(tree, "", meta("bomb"))})
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(b.order)+1))
	pack = append(append(pack, entryHeader(kindBlob, mebibytes<<20)...), zipped.Bytes()...)
	for _, id := range b.order {
		pack = append(append(pack, entryHeader(b.made[id].kind, len(b.made[id].data))...), deflate(t, b.made[id].data)...)
	}
	sum := sha1.Sum(pack)
	pack = append(pack, sum[:]...)
	file := filepath.Join(t.TempDir(), "pack")
	writeFile(t, file, string(pack))
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	idx, _, err := indexPack(t.Context(), f, &inflaters{})
	must(t, err)
	name := filepath.Join(k.Dir, "objects", "pack", "pack-"+string(oid(sum).hash()))
	writeFile(t, name+".pack", string(pack))
	writeFile(t, name+".idx", string(idx))
	k.Run("config", "core.bigFileThreshold", "1m")
	k.Run("update-ref", "refs/heads/main", string(commit.hash()))
	return commit.hash()
}

func deflate(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	_, err := z.Write(data)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestBombCostsLittleMemory does not run beside others, because it counts what the process allocates.
func TestBombCostsLittleMemory(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("half a gigabyte of zeros")
	}
	for _, name := range []string{"modern", "without filter"} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, servers[name])
			c := plantZeros(t, k, "score.yaml", 512)
			before, began := allocated(), time.Now()
			must(t, k.mirror.Fetch(t.Context(), Want{c, "refs/heads/main"}))
			tree, err := k.mirror.Tree(t.Context(), c)
			must(t, err)
			_, _, err = tree.Read("score.yaml")
			f := wantCode(t, err, fault.FileTooLarge)
			text, found, err := tree.Read("ok.yaml")
			if string(text) != "ok" || !found || err != nil {
				t.Fatalf("%q, %t, %v", text, found, err)
			}
			spent := allocated() - before
			st, _ := k.mirror.store.snapshot()
			t.Logf("pack of %d bytes, %d KiB allocated, %s: %s", st.Packs[0].Bytes, spent>>10, time.Since(began), f)
			if spent > 16<<20 {
				t.Errorf("allocated %d MiB", spent>>20)
			}
		})
	}
}

// allocated returns the bytes that were ever allocated: an upper bound for what a step used at once.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
