package reconcile

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRevisionsTellOfFilesThatNoApplicationIsKnownOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.push(map[string]string{"a/score.yaml": file("alpha", "a:1")})
	broken := "apiVersion: score.dev/v1b1\nmetadata: {name: beta}\ncontainers: {main: {imgae: x}}\n"
	bad := w.push(map[string]string{"b/score.yaml": broken + "---\n" + broken, "c/score.yaml": "- nothing\n", "d/score.yaml": file("delta", "d:1")})
	w.equal("alpha a/score.yaml 1/1\ndelta d/score.yaml 1/1", w.apps())

	list, err := w.Summaries(t.Context(), w.Pool, ours, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, fmt.Sprintf("%s %s %s %s %v invalid %d", s.Repository, s.Commit, s.Ref, s.Environment, s.Applications > 0, s.Invalid))
	}
	want := []string{ours + " " + bad + " main production true invalid 2", ours + " " + good + " main production true invalid 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if list, err := w.Summaries(t.Context(), w.Pool, ours, 1); err != nil || len(list) != 1 || list[0].Commit != bad {
		t.Errorf("%v %v", list, err)
	}
	for commit, want := range map[string]int{bad: 2, good: 0, "none": 0} {
		counts, err := w.Invalid(t.Context(), w.Pool, []string{ours, "x/y"}, []string{commit, bad})
		if err != nil || counts[ours] != want || counts["x/y"] != 0 {
			t.Errorf("%s: %v %v", commit, err, counts)
		}
	}
}
