package fault_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
)

var update = flag.Bool("update", false, "write golden files anew")

func TestPrintsFaultsForPeople(t *testing.T) {
	t.Parallel()
	source := []byte("metadata:\n  name: shop\n\tvariables: {A: \"${resources.db.hots}\"}\nüber: größe: 1\n")
	faults := fault.List{
		fault.New(fault.ScoreOutput, "the resource db has no output %q", "hots").
			At(fault.Place{File: "score.yaml", Line: 3, Column: 18}).Show(source).Suggest("host").Do("Its outputs are host, port."),
		fault.New(fault.ScoreSyntax, "mapping values are not allowed here").
			At(fault.Place{File: "score.yaml", Line: 4, Column: 15}).Show(source),
		fault.New(fault.RenderProbe, "one check is used").At(fault.Place{File: "score.yaml"}).Warn(),
		fault.New(fault.NameTaken, "evil \x1b[31mred\x1b[0m \u202etxt\u2028next\r\nline \xff"),
	}
	var got bytes.Buffer
	if err := fault.Print(&got, faults); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "faults.txt")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestCaretPointsAtTheCulpritWhateverStandsBeforeIt(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 400)
	for name, c := range map[string]struct {
		line   string
		column int
		under  string // what the caret stands under
	}{
		"ascii":                  {"abc: X", 6, "X"},
		"two-byte characters":    {"größe: X", 10, "X"},
		"bytes that are no text": {"\xff\xfe: \xff X", 7, "X"},
		"long line":              {long + "X" + long, 401, "X"},
		"long line of ü":         {strings.Repeat("ü", 300) + "X" + strings.Repeat("ü", 300), 601, "X"},
		"windows line end":       {"ab X\r", 4, "X"},
	} {
		source := []byte("first\n" + c.line + "\nlast")
		f := fault.New(fault.ScoreSyntax, "m").At(fault.Place{File: "f", Line: 2, Column: c.column}).Show(source)
		if !utf8.ValidString(f.Excerpt) || len(f.Excerpt) > 2*160 {
			t.Errorf("%s: excerpt %q", name, f.Excerpt)
		}
		if f.Caret < 1 || f.Caret > len(f.Excerpt) || !strings.HasPrefix(f.Excerpt[f.Caret-1:], c.under) {
			t.Errorf("%s: caret %d in %q", name, f.Caret, f.Excerpt)
		}
		lines := strings.Split(f.Text(), "\n")
		shown, caret := []rune(lines[1]), []rune(lines[2])
		if at := len(caret) - 1; at >= len(shown) || string(shown[at]) != c.under {
			t.Errorf("%s: in the text the caret stands elsewhere:\n%s", name, f.Text())
		}
	}
}

func TestPlacesOutsideTheTextShowNothing(t *testing.T) {
	t.Parallel()
	for _, p := range []fault.Place{{}, {File: "f"}, {File: "f", Line: 9, Column: 1}, {File: "f", Line: -1}} {
		if f := fault.New(fault.ScoreSyntax, "m").At(p).Show([]byte("a\nb\n")); f.Excerpt != "" || f.Caret != 0 {
			t.Errorf("%v: %+v", p, f)
		}
	}
	f := fault.New(fault.ScoreSyntax, "m").At(fault.Place{File: "f", Line: 1, Column: 99}).Show([]byte("ab\n"))
	if diff := cmp.Diff(3, f.Caret); diff != "" {
		t.Errorf("a column behind the line's end: %s", diff)
	}
}

func FuzzShowsAnyText(f *testing.F) {
	f.Add([]byte("a: b\n"), 1, 2, "msg")
	f.Add([]byte("\xff\xfe\n\x00\x1b[2J"), 2, 400, "\u202e")
	f.Add([]byte(strings.Repeat("ü\xff", 300)), 1, 450, "")
	f.Fuzz(func(t *testing.T, source []byte, line, column int, message string) {
		shown := fault.New(fault.ScoreSyntax, "%s", message).At(fault.Place{File: "f", Line: line, Column: column}).Show(source)
		if shown.Caret < 0 || shown.Caret > len(shown.Excerpt)+1 {
			t.Fatalf("caret %d in %q", shown.Caret, shown.Excerpt)
		}
		text := shown.Text()
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\r\u202e\u2028\u2029\u0085") {
			t.Fatalf("text %q", text)
		}
	})
}
