package gitrepo

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

var robot = Person{"Robot", "robot@example.com"}

func meta(message string) CommitMeta {
	return CommitMeta{Author: robot, Committer: robot, Message: message, When: time.Unix(1_800_000_000, 0).UTC()}
}

func (k *kit) commit(parent Hash, changes ...Change) Hash {
	k.t.Helper()
	h, changed, err := k.mirror.Commit(k.t.Context(), parent, changes, meta("deploy"))
	if err != nil || !changed {
		k.t.Fatalf("changed %t, %v", changed, err)
	}
	return h
}

func put(path, content string) Change { return Change{Path: path, Content: []byte(content)} }

func TestPushesCommitsThatGitReads(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		first := Hash(k.CommitFiles("main", gitserver.File{Path: "run", Mode: "100755", Content: "sh"},
			gitserver.File{Path: "a/b/c", Content: "1"}, gitserver.File{Path: "a.b", Content: "2"}, gitserver.File{Path: "gone/x", Content: "3"}))
		k.files(string(first))
		h := k.commit(first, put("run", "sh2"), put("a/b/d", "new"), Change{Path: "gone/x", Delete: true}, Change{Path: "never", Delete: true})
		if err := k.mirror.Push(t.Context(), h, "main", first); err != nil {
			t.Fatal(err)
		}
		if err := k.mirror.Push(t.Context(), h, "main", first); err != nil {
			t.Fatalf("the same push again: %v", err)
		}
		equal(t, string(h), k.Run("rev-parse", "main"))
		equal(t, "100644 blob\ta.b\n100644 blob\ta/b/c\n100644 blob\ta/b/d\n100755 blob\trun", k.Run("ls-tree", "-r", "--format=%(objectmode) %(objecttype)%x09%(path)", "main"))
		equal(t, "Robot <robot@example.com> deploy", k.Run("log", "-1", "--format=%an <%ae> %s", "main"))
		k.Run("fsck", "--strict")
		equal(t, map[string]string{"run": "sh2", "a/b/c": "1", "a/b/d": "new", "a.b": "2"}, k.files(string(h)))
		foreign := k.Commit("main", map[string]string{"theirs": "x"})
		equal(t, "x", k.files(foreign)["theirs"])
	})
}

func TestPushNeverOverwrites(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		first := Hash(k.Commit("main", map[string]string{"f": "1"}))
		k.files(string(first))
		mine := k.commit(first, put("mine", "1"))
		theirs := Hash(k.Commit("main", map[string]string{"theirs": "2"}))
		err := k.mirror.Push(t.Context(), mine, "main", first)
		if f := wantCode(t, err, fault.PushConflict); !errors.Is(err, ErrRejected) || f.Class() != fault.Conflict {
			t.Fatal(err)
		}
		k.files(string(theirs))
		if err := k.mirror.Push(t.Context(), mine, "main", theirs); !errors.Is(err, ErrRejected) {
			t.Fatalf("a commit without theirs in its history: %v", err)
		}
		again := k.commit(theirs, put("mine", "1"))
		if err := k.mirror.Push(t.Context(), again, "main", theirs); err != nil {
			t.Fatal(err)
		}
		equal(t, map[string]string{"f": "1", "theirs": "2", "mine": "1"}, k.files(k.Run("rev-parse", "main")))
		if err := k.mirror.Push(t.Context(), mine, "main", ""); !errors.Is(err, ErrRejected) {
			t.Fatalf("a branch that exists is not created: %v", err)
		}
	})
}

func TestPushMakesTheFirstCommitAndNewBranches(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		first := k.commit("", put("deep/er/file", "1"))
		if err := k.mirror.Push(t.Context(), first, "main", ""); err != nil {
			t.Fatal(err)
		}
		if err := k.mirror.Push(t.Context(), first, "previews/one", ""); err != nil {
			t.Fatal(err)
		}
		equal(t, Refs{Commits: map[string]Hash{"refs/heads/main": first, "refs/heads/previews/one": first}, Head: "refs/heads/main"}, k.refs())
		k.Run("fsck", "--strict")
	})
}

func TestHookThatDeclinesIsNoConflict(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	first := Hash(k.Commit("main", map[string]string{"f": "1"}))
	k.files(string(first))
	hook := "#!/bin/sh\necho 'main is protected' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(k.Dir, "hooks", "pre-receive"), []byte(hook), 0o700); err != nil {
		t.Fatal(err)
	}
	err := k.mirror.Push(t.Context(), k.commit(first, put("f", "2")), "main", first)
	f := wantCode(t, err, fault.PushRefused)
	equal(t, "the remote says: pre-receive hook declined: main is protected", f.Message)
}

func TestSameInputGivesTheSameCommit(t *testing.T) {
	t.Parallel()
	k, other := newKit(t, gitserver.Options{}), newKit(t, gitserver.Options{})
	a := k.commit("", put("b", "2"), put("a/c", "1"))
	b := other.commit("", put("a/c", "1"), put("b", "2"))
	equal(t, a, b)
	h, changed, err := k.mirror.Commit(t.Context(), a, []Change{put("b", "2"), {Path: "x", Delete: true}}, meta("again"))
	if err != nil || changed || h != a {
		t.Fatalf("%s changed %t, %v", h, changed, err)
	}
	c, err := k.mirror.CommitInfo(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Time.Equal(meta("").When) {
		t.Error(c.Time)
	}
	c.Time = time.Time{}
	equal(t, Commit{Hash: a, Author: robot, Committer: robot, Subject: "deploy", Message: "deploy\n"}, c)
}

func TestCommitRefusesImpossibleChanges(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	first := Hash(k.CommitFiles("main", gitserver.File{Path: "file", Content: "1"}, gitserver.File{Path: "dir/f", Content: "1"},
		gitserver.File{Path: "link", Mode: "120000", Content: "/etc"},
		gitserver.File{Path: "module", Mode: "160000", Content: "1234567812345678123456781234567812345678"}))
	if err := k.mirror.Fetch(t.Context(), Want{Commit: first}); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]fault.Code{
		"../x": fault.PathInvalid, "/x": fault.PathInvalid, "a//b": fault.PathInvalid, "": fault.PathInvalid, ".git/config": fault.PathInvalid,
		"a/.GIT/x": fault.PathInvalid, "dir": fault.FileIsDirectory, "link": fault.FileIsSymlink, "link/passwd": fault.FileIsSymlink,
		"module/x": fault.FileIsSubmodule, "file/x": fault.PathInvalid,
	} {
		_, _, err := k.mirror.Commit(t.Context(), first, []Change{put(path, "x")}, meta("m"))
		wantCode(t, err, code)
	}
	for _, twice := range [][]Change{{put("x", "1"), put("x", "2")}, {put("x", "1"), put("x/y", "2")}} {
		_, _, err := k.mirror.Commit(t.Context(), first, twice, meta("m"))
		wantCode(t, err, fault.PathInvalid)
	}
}

func TestBranchNamesFollowGit(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"main", "a/b", "release-1.0", "ünïcode", "a@b"} {
		if !validBranch(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", "-x", "a..b", "a b", "a~1", "a^", "a:b", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.", "a@{1}", "a\nb", "a\\b", "a*"} {
		if validBranch(name) {
			t.Errorf("%q is taken", name)
		}
	}
}
