package gitrepo

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

const poem = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n"

func TestMergesThreeWays(t *testing.T) {
	t.Parallel()
	start := map[string]string{"poem": poem, "keep": "k", "apps/a": "a", "apps/b": "b"}
	for name, c := range map[string]struct {
		ours, theirs []gitserver.File
		want         map[string]string // what differs from start; "-" is deleted
		conflicts    []string
	}{
		"different files": {
			[]gitserver.File{{Path: "apps/a", Content: "A"}}, []gitserver.File{{Path: "apps/b", Content: "B"}, {Path: "new/x", Content: "x"}},
			map[string]string{"apps/a": "A", "apps/b": "B", "new/x": "x"}, nil,
		},
		"one file in different places": {
			[]gitserver.File{{Path: "poem", Content: strings.Replace(poem, "one", "ONE", 1)}},
			[]gitserver.File{{Path: "poem", Content: strings.Replace(poem, "seven\n", "seven\neight\n", 1)}},
			map[string]string{"poem": "ONE\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n"}, nil,
		},
		"the same change": {
			[]gitserver.File{{Path: "poem", Content: "x"}}, []gitserver.File{{Path: "poem", Content: "x"}, {Path: "keep", Content: "K"}},
			map[string]string{"poem": "x", "keep": "K"}, nil,
		},
		"one line twice": {
			[]gitserver.File{{Path: "poem", Content: strings.Replace(poem, "two", "2", 1)}},
			[]gitserver.File{{Path: "poem", Content: strings.Replace(poem, "two", "II", 1)}},
			map[string]string{"poem": strings.Replace(poem, "two", "2", 1)}, []string{"poem"},
		},
		"added twice": {
			[]gitserver.File{{Path: "new", Content: "1"}}, []gitserver.File{{Path: "new", Content: "2"}},
			map[string]string{"new": "1"}, []string{"new"},
		},
		"deleted here, changed there": {
			[]gitserver.File{{Path: "apps/a", Delete: true}}, []gitserver.File{{Path: "apps/a", Content: "A"}, {Path: "apps/b", Delete: true}},
			map[string]string{"apps/a": "-", "apps/b": "-"}, []string{"apps/a"},
		},
		"directory deleted here, file in it changed there": {
			[]gitserver.File{{Path: "apps", Delete: true}}, []gitserver.File{{Path: "apps/b", Content: "B"}},
			map[string]string{"apps/a": "-", "apps/b": "-"}, []string{"apps/b"},
		},
		"file became a directory there": {
			[]gitserver.File{{Path: "apps/a", Content: "A"}}, []gitserver.File{{Path: "keep", Delete: true}, {Path: "keep/x", Content: "x"}},
			map[string]string{"apps/a": "A", "keep": "-", "keep/x": "x"}, nil,
		},
		"file became a directory there and changed here": {
			[]gitserver.File{{Path: "keep", Content: "K"}}, []gitserver.File{{Path: "keep", Delete: true}, {Path: "keep/x", Content: "x"}},
			map[string]string{"keep": "K"}, []string{"keep"},
		},
		"binary twice": {
			[]gitserver.File{{Path: "poem", Content: "\x00" + poem}}, []gitserver.File{{Path: "poem", Content: poem + "\x00"}},
			map[string]string{"poem": "\x00" + poem}, []string{"poem"},
		},
		"moved here, changed there": {
			[]gitserver.File{{Path: "apps/a", Delete: true}, {Path: "services/a", Content: "a"}}, []gitserver.File{{Path: "apps/a", Content: "A"}},
			map[string]string{"apps/a": "-", "services/a": "A"}, nil,
		},
		"changed here, moved there": {
			[]gitserver.File{{Path: "poem", Content: "short"}}, []gitserver.File{{Path: "poem", Delete: true}, {Path: "apps/c/poem", Content: poem}},
			map[string]string{"poem": "-", "apps/c/poem": "short"}, nil,
		},
		"moved here, deleted there": {
			[]gitserver.File{{Path: "keep", Delete: true}, {Path: "kept", Content: "k"}, {Path: "x", Content: "k2"}}, []gitserver.File{{Path: "poem", Delete: true}},
			map[string]string{"keep": "-", "kept": "k", "x": "k2", "poem": "-"}, nil,
		},
		"moved here, moved elsewhere there": {
			[]gitserver.File{{Path: "keep", Delete: true}, {Path: "kept", Content: "k"}}, []gitserver.File{{Path: "keep", Delete: true}, {Path: "held", Content: "k"}},
			map[string]string{"keep": "-", "kept": "k", "held": "k"}, []string{"held", "kept"},
		},
		"moved to one place": {
			[]gitserver.File{{Path: "keep", Delete: true}, {Path: "kept", Content: "k"}}, []gitserver.File{{Path: "keep", Delete: true}, {Path: "kept", Content: "k"}},
			map[string]string{"keep": "-", "kept": "k"}, nil,
		},
		"moved here, deleted with its directory there": {
			[]gitserver.File{{Path: "apps", Delete: true}, {Path: "services/a", Content: "a"}}, []gitserver.File{{Path: "apps", Delete: true}},
			map[string]string{"apps/a": "-", "apps/b": "-", "services/a": "a"}, []string{"services/a"},
		},
		"all deleted": {
			[]gitserver.File{{Path: "apps", Delete: true}, {Path: "keep", Delete: true}}, []gitserver.File{{Path: "poem", Delete: true}},
			map[string]string{"apps/a": "-", "apps/b": "-", "keep": "-", "poem": "-"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, gitserver.Options{})
			fork := k.Commit("main", start)
			ours, theirs := k.CommitOn("main", []string{fork}, c.ours...), k.CommitOn("work", []string{fork}, c.theirs...)
			tree, conflicts := k.merge(ours, theirs)
			want := maps.Clone(start)
			for p, text := range c.want {
				if want[p] = text; text == "-" {
					delete(want, p)
				}
			}
			equal(t, c.conflicts, append([]string(nil), conflicts...))
			equal(t, want, contents(t, tree))
			said, err := k.Git(t.Context(), nil, "merge-tree", "--write-tree", ours, theirs)
			if (err == nil) != (len(conflicts) == 0) || err == nil && said != string(tree.root.hash()) {
				t.Errorf("git says %s, %v; we have %s", said, err, tree.root.hash())
			}
		})
	}
}

func (k *kit) merge(base, head string) (*Tree, []string) {
	k.t.Helper()
	if err := k.mirror.Fetch(k.t.Context(), Want{Hash(base), "refs/heads/main"}, Want{Hash(head), "refs/heads/work"}); err != nil {
		k.t.Fatal(err)
	}
	tree, conflicts, err := k.mirror.Merge(k.t.Context(), Hash(base), Hash(head))
	if err != nil {
		k.t.Fatal(err)
	}
	return tree, conflicts
}

func TestMergeOfContainedHistoriesGivesTheNewerSide(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	old := k.Commit("main", map[string]string{"f": "1"})
	newer := k.CommitOn("work", []string{old}, gitserver.File{Path: "f", Content: "2"})
	for _, pair := range [][2]string{{old, newer}, {newer, old}, {newer, newer}} {
		tree, conflicts := k.merge(pair[0], pair[1])
		equal(t, []string(nil), conflicts)
		equal(t, map[string]string{"f": "2"}, contents(t, tree))
	}
}

func TestUnrelatedHistoriesAreNotMerged(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	a := k.Commit("main", map[string]string{"f": "1"})
	b := k.CommitOn("work", nil, gitserver.File{Path: "g", Content: "2"})
	k.files(a)
	if err := k.mirror.Fetch(t.Context(), Want{Hash(b), "refs/heads/work"}); err != nil {
		t.Fatal(err)
	}
	_, _, err := k.mirror.Merge(t.Context(), Hash(a), Hash(b))
	wantCode(t, err, fault.MergeConflict)
	if _, ok, err := k.mirror.MergeBase(t.Context(), Hash(a), Hash(b)); ok || err != nil {
		t.Fatal(ok, err)
	}
}

// TestHistoryIsComparedAsGitDoes asks Git about all pairs of a random history.
func TestHistoryIsComparedAsGitDoes(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	random := rand.New(rand.NewPCG(1, 2))
	commits := []string{k.Commit("main", map[string]string{"f": "0"})}
	for i := range 24 {
		parents := []string{commits[random.IntN(len(commits))]}
		if other := commits[random.IntN(len(commits))]; i%3 == 0 && other != parents[0] {
			parents = append(parents, other)
		}
		commits = append(commits, k.CommitOn(fmt.Sprint("b", i), parents, gitserver.File{Path: fmt.Sprint(i), Content: "x"}))
	}
	var wants []Want
	for _, c := range commits {
		wants = append(wants, Want{Commit: Hash(c)})
	}
	if err := k.mirror.Fetch(t.Context(), wants...); err != nil {
		t.Fatal(err)
	}
	for i, a := range commits {
		for _, b := range commits[:i] {
			_, failed := k.Git(t.Context(), nil, "merge-base", "--is-ancestor", a, b)
			is, err := k.mirror.IsAncestor(t.Context(), Hash(a), Hash(b))
			if err != nil || is != (failed == nil) {
				t.Errorf("%s ancestor of %s: %t, %v", a, b, is, err)
			}
			base, ok, err := k.mirror.MergeBase(t.Context(), Hash(a), Hash(b))
			if all := strings.Split(k.Run("merge-base", "--all", a, b), "\n"); err != nil || !ok || !slices.Contains(all, string(base)) {
				t.Errorf("base of %s and %s: %s, %v, want one of %v", a, b, base, err, all)
			}
		}
	}
}

// TestTreesAreMergedAsGitDoes compares random merges with git merge-tree: what we call clean must be clean there, too, with
// the same tree. Git may merge more, because it guesses renames of changed files.
func TestTreesAreMergedAsGitDoes(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	random := rand.New(rand.NewPCG(5, 6))
	text := func(i int) string {
		var b strings.Builder
		for line := range 8 {
			fmt.Fprintf(&b, "file %d line %d\n", i, line)
		}
		return b.String()
	}
	start := map[string]string{}
	var paths []string
	for i := range 12 {
		p := fmt.Sprintf("d%d/e%d/f%d", i%2, i%3, i)
		paths, start[p] = append(paths, p), text(i)
	}
	fork := k.Commit("main", start)
	edit := func() []gitserver.File {
		var out []gitserver.File
		for i := range 3 + random.IntN(3) {
			p := paths[random.IntN(len(paths))]
			if slices.ContainsFunc(out, func(f gitserver.File) bool { return f.Path == p }) {
				continue
			}
			switch random.IntN(5) {
			case 0:
				out = append(out, gitserver.File{Path: p, Delete: true})
			case 1:
				out = append(out, gitserver.File{Path: p, Delete: true}, gitserver.File{Path: fmt.Sprintf("moved%d/%d", random.IntN(9), i), Content: start[p]})
			case 2:
				out = append(out, gitserver.File{Path: fmt.Sprintf("d0/new%d", random.IntN(3)), Content: fmt.Sprint(random.IntN(2))})
			default:
				line := fmt.Sprintf("line %d", random.IntN(8))
				out = append(out, gitserver.File{Path: p, Content: strings.Replace(start[p], line, "changed", 1)})
			}
		}
		return out
	}
	clean, more := 0, 0
	for range 40 {
		ours, theirs := k.CommitOn("main", []string{fork}, edit()...), k.CommitOn("work", []string{fork}, edit()...)
		tree, conflicts := k.merge(ours, theirs)
		said, err := k.Git(t.Context(), nil, "merge-tree", "--write-tree", ours, theirs)
		switch {
		case len(conflicts) == 0 && (err != nil || said != string(tree.root.hash())):
			t.Errorf("git merge-tree %s %s says %s, %v", ours, theirs, said, err)
		case len(conflicts) == 0:
			clean++
		case err == nil:
			more++
		}
	}
	t.Logf("%d clean, %d that only Git merges", clean, more)
	if clean < 10 {
		t.Error("the test proves little")
	}
}

// TestLinesAreMergedAsGitDoes compares with git merge-file on random edits. Where Git sees a conflict we must see one;
// where both merge, the results must be equal.
func TestLinesAreMergedAsGitDoes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	edit := func(lines []string) []string {
		out := slices.Clone(lines)
		for range 1 + random.IntN(3) {
			at := random.IntN(len(out))
			switch random.IntN(3) {
			case 0:
				out = slices.Insert(out, at, fmt.Sprint("new", random.IntN(4), "\n"))
			case 1:
				out = slices.Delete(out, at, at+1)
			default:
				out[at] = fmt.Sprint("changed", random.IntN(4), "\n")
			}
		}
		return out
	}
	clean := 0
	dir := t.TempDir()
	for range 150 {
		var base []string
		for i := range 20 {
			base = append(base, fmt.Sprint("line", i%15, "\n"))
		}
		texts := []string{strings.Join(edit(base), ""), strings.Join(base, ""), strings.Join(edit(base), "")}
		want, gitClean := gitMerge(t, dir, texts)
		got, ourClean := mergeLines([]byte(texts[1]), []byte(texts[0]), []byte(texts[2]))
		if ourClean != gitClean || ourClean && string(got) != want {
			t.Errorf("%q: clean %t, git says %t:\n%s\n%s", texts, ourClean, gitClean, got, want)
		}
		if ourClean {
			clean++
		}
	}
	if clean < 30 {
		t.Errorf("only %d cases merged: the test proves little", clean)
	}
}

func gitMerge(t *testing.T, dir string, texts []string) (merged string, clean bool) {
	t.Helper()
	args := []string{"merge-file", "-p"}
	for i, text := range texts {
		path := fmt.Sprint(dir, "/", i)
		writeFile(t, path, text)
		args = append(args, path)
	}
	out, err := exec.CommandContext(t.Context(), "git", args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 && exit.ExitCode() < 128 {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), true
}

func FuzzMergeLines(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nB\nc\n", "a\nb\nc\nd\n")
	f.Add("", "x", "x\n")
	f.Add("a\na\na\n", "a\n", "a\na\na\na\na")
	f.Fuzz(func(t *testing.T, base, ours, theirs string) {
		mergeLines([]byte(base), []byte(ours), []byte(theirs))
		for _, c := range [][4]string{{base, ours, ours, ours}, {base, base, theirs, theirs}, {base, ours, base, ours}} {
			got, clean := mergeLines([]byte(c[0]), []byte(c[1]), []byte(c[2]))
			if !clean || string(got) != c[3] {
				t.Fatalf("%q: clean %t, %q", c, clean, got)
			}
		}
	})
}
