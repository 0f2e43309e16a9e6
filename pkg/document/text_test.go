package document_test

import (
	"testing"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
)

func TestFindsValuesByTheirPath(t *testing.T) {
	t.Parallel()
	text := document.Read("a.yaml", []byte("é: {b: [1, {c: x}]}\nd: &n {e: 1}\nf: *n\nnone: ~\n"))
	for _, c := range []struct {
		path  []string
		place string
		found bool
	}{
		{nil, "a.yaml:1:1", true},
		{[]string{"é", "b", "1", "c"}, "a.yaml:1:17", true},
		{[]string{"é", "b", "7"}, "a.yaml:1:9", false},
		{[]string{"é", "x", "y"}, "a.yaml:1:5", false},
		{[]string{"f", "e"}, "a.yaml:2:11", true},
		{[]string{"none"}, "a.yaml:4:7", false},
		{[]string{"nothing"}, "a.yaml:1:1", false},
	} {
		if at, found := text.Find(c.path...); at.String() != c.place || found != c.found {
			t.Errorf("%v is at %s, %v; want %s, %v", c.path, at, found, c.place, c.found)
		}
	}
	if f := text.Tell(fault.New(fault.ConfigValue, "wrong"), "d", "e"); f.Excerpt != "d: &n {e: 1}" || f.Place.Line != 2 {
		t.Errorf("told as %+v", f)
	}
	if text.Node("é", "b") == nil || text.Node("é", "x", "y") != nil {
		t.Error("nodes are not found, or found where there are none")
	}
}

func TestTextThatCannotBeReadHasItsFileAlone(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "a: [", "\x00"} {
		if at, found := document.Read("a.yaml", []byte(data)).Find("a"); at.String() != "a.yaml" || found {
			t.Errorf("%q: %s, %v", data, at, found)
		}
	}
}
