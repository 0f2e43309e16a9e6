package score_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// minimal is a valid workload to which hostile parts are added.
const minimal = "apiVersion: score.dev/v1b1\nmetadata: {name: demo}\ncontainers: {main: {image: .}}\n"

// bomb is the billion laughs in YAML: each level has nine aliases of the one before.
func bomb(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [lol, lol, lol]\n")
	for i := range levels {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9)[:9*len(fmt.Sprintf("*a%d, ", i))-2])
	}
	return b.String()
}

func mergeBomb(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 {x: 1, y: 2}\n")
	for i := range levels {
		fmt.Fprintf(&b, "a%d: &a%d {p: *a%d, q: *a%d, <<: *a%d}\n", i+1, i+1, i, i, i)
	}
	return b.String()
}

// TestSurvivesHostileInput gives what people may send to stop the server: each file must be refused or read with few
// codes, in a time and memory that the size of the file bounds.
func TestSurvivesHostileInput(t *testing.T) {
	// A third of the largest file keeps the test quick and still passes each limit.
	big := func(s string) string { return strings.Repeat(s, 300*1000/len(s)) }
	for _, c := range []struct {
		name, data string
		want       []fault.Code
	}{
		{"a file above the limit", "# " + strings.Repeat("x", 1<<20), []fault.Code{fault.ScoreLimit}},
		{"an alias bomb", bomb(20) + minimal, []fault.Code{fault.ScoreLimit}},
		{"a merge bomb", mergeBomb(40) + minimal, []fault.Code{fault.ScoreLimit}},
		{"deep flow lists", minimal + "x: " + big("["), []fault.Code{fault.ScoreLimit}},
		{"deep flow maps", minimal + "x: " + big("{a: "), []fault.Code{fault.ScoreLimit}},
		{"deep block lists", minimal + "x:\n  " + big("- "), []fault.Code{fault.ScoreLimit}},
		{"deep question marks", big("? "), []fault.Code{fault.ScoreLimit}},
		{"deep lists by aliases", deepAliases(200) + minimal, []fault.Code{fault.ScoreLimit}},
		{"many values", minimal + "x: [" + big("1,") + "1]\n", []fault.Code{fault.ScoreLimit}},
		{"many empty values", minimal + "x: [" + big("a,") + "]\n", []fault.Code{fault.ScoreLimit}},
		{"many keys", minimal + manyKeys(90_000), []fault.Code{fault.ScoreLimit}},
		{"many unknown keys", minimal + manyKeys(40_000), []fault.Code{fault.ScoreUnknownKey, fault.ScoreMore}},
		{"many documents", big("---\na: 1\n"), nil},
		{"many empty documents", big("---\n"), nil},
		{"many anchors", "x:\n" + big("- &a b\n"), nil},
		{"many comments", big("# a\n") + minimal, []fault.Code{}},
		{"many comments after values", minimal + big("   # a\n"), []fault.Code{}},
		{"many blank lines", big("\n") + minimal, []fault.Code{}},
		{"a long line of a comment", "#" + big("x") + "\n" + minimal, []fault.Code{}},
		{"a huge scalar", minimal[:len(minimal)-1] + "\nresources: {aa: {type: bb, params: {x: " + big("yy") + "}}}\n", []fault.Code{}},
		{"a huge literal", minimal + "resources:\n  aa:\n    type: bb\n    params:\n      x: |\n" + big("        text\n"), []fault.Code{}},
		{"a huge quoted scalar of escapes", minimal + "x: \"" + big(`\n`) + "\"\n", []fault.Code{fault.ScoreUnknownKey}},
		{"a long key", minimal + big("k") + ": 1\n", nil},
		{"a long line with colons", big("a: "), nil},
		{"a long line with quotes", big(`"a" `), nil},
		{"an unclosed quote", minimal + "x: \"" + big("a b\n "), nil},
		{"dollars", inVariable(big("$")), []fault.Code{}},
		{"unclosed placeholders", inVariable(big("${")), []fault.Code{}},
		{"escaped placeholders", inVariable(big("$${a}")), []fault.Code{}},
		{"faulty placeholders", inVariable(big("${a}")), []fault.Code{fault.ScorePlaceholder, fault.ScoreMore}},
		{"many placeholders of many keys", "metadata: {" + strings.ReplaceAll(manyKeys(10_000), "\n", ", ") + "name: demo}\n" +
			strings.Replace(inVariable(big("${metadata.k99999}")), "metadata: {name: demo}\n", "", 1), nil},
		{"a placeholder of dots", inVariable("${" + big(".") + "}"), []fault.Code{fault.ScorePlaceholder}},
		{"many containers in a circle", circle(4000), []fault.Code{fault.ScoreBeforeCycle}},
		{"many wrong names in before", wrongBefore(4000), []fault.Code{fault.ScoreBefore, fault.ScoreMore}},
		{"a NUL", minimal + "x: \x00\n", []fault.Code{fault.ScoreEncoding}},
		{"not UTF-8", minimal + "x: \xff\n", []fault.Code{fault.ScoreEncoding}},
		{"UTF-16", "\xff\xfea\x00:\x00", []fault.Code{fault.ScoreEncoding}},
		{"a control character", minimal + "x: \x01\n", []fault.Code{fault.ScoreSyntax}},
		{"an alias of itself", minimal + "x: &a [*a]\n", []fault.Code{fault.ScoreUnknownKey, fault.ScoreAlias}},
		{"a merge of itself", minimal + "x: &a {<<: *a}\n", []fault.Code{fault.ScoreUnknownKey, fault.ScoreAlias}},
		{"an unknown alias", minimal + "x: *nowhere\n", []fault.Code{fault.ScoreSyntax}},
		{"tabs as indentation", "a:\n\tb: 1\n", []fault.Code{fault.ScoreSyntax}},
		{"nothing", "", []fault.Code{fault.ScoreNone}},
		{"a scalar", "hello", []fault.Code{fault.ScoreType}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(c.data)})
			if c.want != nil {
				if diff := cmp.Diff(c.want, codes(faults)); diff != "" {
					t.Errorf("codes (-want +got):\n%s\n%v", diff, clipped(faults))
				}
			}
			if took := time.Since(start); took > slowdown*10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestBombsCostLittle holds that what an alias stands for is counted and never written out.
func TestBombsCostLittle(t *testing.T) {
	for _, data := range []string{bomb(30), mergeBomb(60), bomb(3000)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, faults := score.Load(score.Source{Name: "score.yaml", Data: []byte(data + minimal)})
		runtime.ReadMemStats(&after)
		if got := codes(faults); !cmp.Equal(got, []fault.Code{fault.ScoreLimit}) || len(faults) != 1 {
			t.Errorf("codes %v", got)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(200*len(data)+1<<20) {
			t.Errorf("%d bytes allocated for a file of %d", used, len(data))
		}
	}
}

// codes returns the codes of faults in order, each once for a run of the same.
func codes(faults fault.List) []fault.Code {
	out := []fault.Code{}
	seen := map[fault.Code]bool{}
	for _, f := range faults {
		if !seen[f.Code] && f.Code != fault.ScoreMore {
			out = append(out, f.Code)
		}
		seen[f.Code] = true
	}
	if seen[fault.ScoreMore] {
		out = append(out, fault.ScoreMore)
	}
	return out
}

func clipped(faults fault.List) string {
	s := faults.Error()
	return s[:min(len(s), 500)]
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	return b.String()
}

func deepAliases(n int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 1\n")
	for i := range n {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d]\n", i+1, i+1, i)
	}
	return b.String()
}

func inVariable(value string) string {
	return "apiVersion: score.dev/v1b1\nmetadata: {name: demo}\ncontainers: {main: {image: ., variables: {A: '" + value + "'}}}\n"
}

func circle(n int) string {
	var b strings.Builder
	b.WriteString("apiVersion: score.dev/v1b1\nmetadata: {name: demo}\ncontainers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  c%d: {image: ., before: {c%d: {ready: started}}}\n", i, (i+1)%n)
	}
	return strings.ReplaceAll(strings.ReplaceAll(b.String(), " c0:", " c00:"), "{c0:", "{c00:")
}

func wrongBefore(n int) string {
	var b strings.Builder
	b.WriteString("apiVersion: score.dev/v1b1\nmetadata: {name: demo}\ncontainers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  c0%d: {image: ., before: {x%d: {ready: started}}}\n", i, i)
	}
	return b.String()
}
