package score

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// formats are the patterns and lengths of the schema, as it gives them.
var formats = []struct {
	name    string
	format  format
	pattern string
	max     int
	// letters are what random strings are made of.
	letters string
}{
	{"label", labelFormat, `^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$`, 63, "az09-A_.\n"},
	{"type", typeFormat, `^[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]$`, 63, "aZ0-_."},
	{"id", idFormat, `^[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*$`, 63, "a0-.A"},
	{"annotation", annotationFormat, `^(([a-z0-9][a-z0-9-]{0,61}[a-z0-9])(\.[a-z0-9][a-z0-9-]{0,61}[a-z0-9])*/)?[A-Za-z0-9][A-Za-z0-9._-]{0,61}[A-Za-z0-9]$`, 316, "aa0Z-_./"},
	{"variable", variableFormat, `^[^=]+$`, 1 << 20, "a= \nü"},
	{"header", headerFormat, `^[A-Za-z0-9_-]+$`, 1 << 20, "aZ0_- "},
	{"mode", modeFormat, `^0?[0-7]{3}$`, 1 << 20, "01778"},
	{"memory", memoryFormat, `^(0\.\d+|[1-9]\d*(\.\d+)?)(K|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`, 1 << 20, "019.KMi"},
	{"cpu", cpuFormat, `^\d+(?:m|\.\d+)?$`, 1 << 20, "019.mm"},
	{"version", versionFormat, `^score\.dev/v1b1$`, 1 << 20, "a"},
}

var formatVectors = []string{
	"", "a", "ab", "a-", "-a", "a-b", "A-B", "1a", "a.b", "a..b", ".ab", "ab.", "a_b", "ab\n", "a b", "ab/cd", "a/cd", "ab/c", "ab.cd/ef", "x.yy/zz",
	"ab.c/ef", "/ab", "ab/", "ab/cd/ef", "600", "0600", "00600", "060", "0800", "777", "10Gi", "1.5Gi", "0.5", "0.5Ki", "0", "00.5", "01", "1.", "1.Ki",
	".5", "1ki", "1Kii", "i", "Ki", "1i", "1Ri", "100m", "0.24", "2", "1.5m", "m", "1.", "score.dev/v1b1", "score.dev/v1b2", "scoreXdev/v1b1",
	strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 63) + "/" + strings.Repeat("b", 63), strings.Repeat("a", 64) + "/bb",
	strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 60) + "/" + strings.Repeat("b", 63),
	strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61) + "/" + strings.Repeat("b", 63),
	"ää", "X-Name", "X Name", "a=b", "=", "Ü",
}

func TestFormatsAreThePatternsOfTheSchema(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, f := range formats {
		pattern := regexp.MustCompile(f.pattern)
		check := func(s string) {
			want := pattern.MatchString(s) && len([]rune(s)) <= f.max && (f.max > 316 || len([]rune(s)) >= 2)
			if got := f.format.ok(s); got != want {
				t.Errorf("%s %q: got %t, want %t", f.name, s, got, want)
			}
		}
		for _, s := range formatVectors {
			check(s)
		}
		letters := []rune(f.letters)
		for range 5000 {
			s := make([]rune, random.IntN(8))
			for i := range s {
				s[i] = letters[random.IntN(len(letters))]
			}
			check(string(s))
		}
		if !f.format.ok(f.format.example) {
			t.Errorf("%s: the example %q is not valid", f.name, f.format.example)
		}
	}
}
