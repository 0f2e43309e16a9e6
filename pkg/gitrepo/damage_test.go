package gitrepo

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

// TestLostObjectIsNeverAbsence removes objects from mirrors and expects errors, and that the next fetch heals them.
func TestLostObjectIsNeverAbsence(t *testing.T) {
	t.Parallel()
	damages := map[string]func(t *testing.T, pack string){
		"pack is gone":    func(t *testing.T, pack string) { must(t, os.Remove(pack)) },
		"pack is cut":     func(t *testing.T, pack string) { must(t, os.Truncate(pack, 40)) },
		"mirror is gone":  func(t *testing.T, pack string) { must(t, os.RemoveAll(filepath.Dir(filepath.Dir(filepath.Dir(pack))))) },
		"bytes are wrong": func(t *testing.T, pack string) { spoil(t, pack) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onServers(t, func(t *testing.T, k *kit) {
				files := map[string]string{"score.yaml": strings.Repeat("text\n", 50), "apps/score.yaml": "two\n"}
				c := Hash(k.Commit("main", files))
				equal(t, files, k.files(string(c)))
				packs, err := filepath.Glob(filepath.Join(k.dir, "objects", "pack", "*.pack"))
				if err != nil || len(packs) != 1 {
					t.Fatal(packs, err)
				}
				damage(t, packs[0])
				if !unreadable(t, k.mirror, c) {
					t.Fatal("damage was not noticed")
				}
				fresh := NewClient(ClientConfig{})
				defer fresh.Close()
				if err := k.mirror.Fetch(t.Context(), Want{c, "refs/heads/main"}); err != nil {
					t.Fatal(err)
				}
				equal(t, files, k.files(string(c)))
			})
		})
	}
}

// unreadable reads all and says whether an error came up; it fails if something seems absent without one.
func unreadable(t *testing.T, m *Mirror, c Hash) bool {
	t.Helper()
	tree, err := m.Tree(t.Context(), c)
	if err != nil {
		wantCode(t, err, fault.MirrorDamaged)
		return true
	}
	paths, err := tree.Paths(func(string) bool { return true })
	if err != nil {
		wantCode(t, err, fault.MirrorDamaged)
		return true
	}
	if len(paths) != 2 {
		t.Fatalf("got %v without an error", paths)
	}
	for _, p := range paths {
		if _, found, err := tree.Read(p); err != nil {
			wantCode(t, err, fault.MirrorDamaged)
			return true
		} else if !found {
			t.Fatalf("%s seems absent", p)
		}
	}
	return false
}

// spoil overwrites what objects begin with.
func spoil(t *testing.T, pack string) {
	t.Helper()
	must(t, os.Chmod(pack, 0o600))
	f, err := os.OpenFile(pack, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xaa}, int(info.Size())-packHead-hashBytes), packHead)
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamageFoundWhileOpeningMakesTheMirrorAnewOnce(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, dir string){
		"state":  func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, stateFile), "{") },
		"config": func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, stateFile))) },
		"index": func(t *testing.T, dir string) {
			found, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.idx"))
			must(t, err)
			writeFile(t, found[0], strings.Repeat("x", 4096))
		},
		"packs": func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "objects", "pack"))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, gitserver.Options{})
			c := k.Commit("main", map[string]string{"f": "1"})
			k.files(c)
			damage(t, k.dir)
			client := NewClient(ClientConfig{})
			defer client.Close()
			for _, want := range []bool{true, false} {
				m, remade, err := client.OpenMirror(k.dir, k.remote)
				must(t, err)
				if remade != want {
					t.Fatalf("remade %t, want %t", remade, want)
				}
				k.mirror = m
			}
			equal(t, map[string]string{"f": "1"}, k.files(c))
		})
	}
}

func TestDirectoryWithOtherFilesIsLeftAlone(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "thesis.txt"), "ten years of work")
	_, _, err := k.client.OpenMirror(dir, k.remote)
	wantCode(t, err, fault.MirrorUnwritable)
	if _, err := os.Stat(filepath.Join(dir, "thesis.txt")); err != nil {
		t.Fatal(err)
	}
}

func TestMirrorOfAnotherRemoteIsNotUsed(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	c := k.Commit("main", map[string]string{"f": "secret"})
	k.files(c)
	for _, client := range []*Client{k.client, NewClient(ClientConfig{})} {
		other := Remote{URL: k.URL + "-other"}
		m, remade, err := client.OpenMirror(k.dir, other)
		if err != nil || !remade || m.Has(Hash(c)) {
			t.Fatalf("remade %t, has %t, %v", remade, m.Has(Hash(c)), err)
		}
		if _, remade, err = client.OpenMirror(k.dir, Remote{URL: other.URL, Auth: Auth{"new", "token"}}); err != nil || remade {
			t.Fatalf("other credentials: remade %t, %v", remade, err)
		}
		k.mirror = k.open()
		k.files(c)
	}
}

func TestObjectThatTheServerLostIsAnError(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		c := k.Commit("main", map[string]string{"f": "1", "d/g": "2"})
		tree := k.Run("rev-parse", c+":d")
		must(t, os.Remove(filepath.Join(k.Dir, "objects", tree[:2], tree[2:])))
		err := k.mirror.Fetch(t.Context(), Want{Hash(c), "refs/heads/main"})
		if err == nil || fault.ClassOf(err) != fault.Retryable {
			t.Fatalf("got %v", err)
		}
	})
}

func TestPacksAreJoinedAndGitReadsThem(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		big := strings.Repeat("a line that repeats itself\n", 300)
		var commits []string
		for i := range 2*maxPacks + 3 {
			commits = append(commits, k.Commit("main", map[string]string{"f": fmt.Sprint(big, i), fmt.Sprint("g", i%3): fmt.Sprint(i)}))
			if i == 5 {
				k.Run("repack", "-adfq")
			}
			k.files(commits[i])
		}
		st, _ := k.mirror.store.snapshot()
		if len(st.Packs) > maxPacks {
			t.Errorf("%d packs", len(st.Packs))
		}
		for i, c := range commits {
			equal(t, fmt.Sprint(big, i), k.files(c)["f"])
		}
		k.gitReads(commits[len(commits)-1])
		fresh := NewClient(ClientConfig{})
		defer fresh.Close()
		m, remade, err := fresh.OpenMirror(k.dir, k.remote)
		if err != nil || remade || !m.Has(Hash(commits[0])) {
			t.Fatal(remade, err)
		}
	})
}

// gitReads has the git command check the mirror and read a commit from it.
func (k *kit) gitReads(commit string) {
	k.t.Helper()
	for _, args := range [][]string{{"fsck", "--strict", "--full"}, {"ls-tree", "-r", commit}} {
		out, err := exec.CommandContext(k.t.Context(), "git", append([]string{"-C", k.dir}, args...)...).CombinedOutput()
		if err != nil {
			k.t.Errorf("git %v: %v: %s", args, err, out)
		}
	}
}

func TestConcurrentFetchesOfOneMirrorTakeTurns(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		var commits []string
		for i := range 8 {
			commits = append(commits, k.Commit("main", map[string]string{"f": fmt.Sprint(i)}))
		}
		var all sync.WaitGroup
		for range 2 {
			for i, c := range commits {
				all.Go(func() {
					m, _, err := k.client.OpenMirror(k.dir, k.remote)
					if err == nil {
						err = m.Fetch(t.Context(), Want{Hash(c), "refs/heads/main"})
					}
					if err != nil {
						t.Error(err)
						return
					}
					tree, err := m.Tree(t.Context(), Hash(c))
					if err != nil {
						t.Error(err)
						return
					}
					if text, _, err := tree.Read("f"); err != nil || string(text) != fmt.Sprint(i) {
						t.Errorf("%q, %v", text, err)
					}
				})
			}
		}
		all.Wait()
	})
}
