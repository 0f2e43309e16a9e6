package score_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/score"
)

func TestAnnotationsOfAFileWithAMistakeAreKnown(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"metadata: {annotations: {a: x}}\n---\nmetadata: {annotations: {b: y, a: 7}}\n---\nkind: 1\n": {"x", "7"},
		"metadata:\n  annotations:\n    a: x\n    a: y\nz: 1\n":                                       {"x"},
		"metadata: {annotations: [a]}":                                                                nil,
		"metadata: {annotations: {a: x":                                                               nil,
		"a\x00":                                                                                       nil,
		"":                                                                                            nil,
		"[]":                                                                                          nil,
	} {
		if diff := cmp.Diff(want, score.Annotated(score.Source{Name: "score.yaml", Data: []byte(text)}, "a")); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
