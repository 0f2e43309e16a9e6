package score_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/score"
)

var errUnknown = errors.New("unknown")

func resolve(path []string) (string, error) {
	if p := strings.Join(path, "|"); p == "metadata|name" {
		return "demo", nil
	} else if p == "a|b.c" {
		return "dotted", nil
	}
	return "", errUnknown
}

func TestExpandsPlaceholders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"$", "$"},
		{"$5", "$5"},
		{"$$", "$"},
		{"$$$", "$$"},
		{"$$$$", "$$"},
		{"$${a.b}", "${a.b}"},
		{"$${", "${"},
		{"$$${metadata.name}", "$demo"},
		{"$$$${metadata.name}", "$${metadata.name}"},
		{"${x", "${x"},
		{"${x ${metadata.name", "${x ${metadata.name"},
		{"$(FOO)", "$(FOO)"},
		{"}${metadata.name}{", "}demo{"},
		{"a ${metadata.name} b ${metadata.name}", "a demo b demo"},
		{`${a.b\.c}`, "dotted"},
		{"ü${metadata.name}ü", "üdemoü"},
	} {
		got, err := score.Expand(c.in, resolve)
		if err != nil || got != c.want {
			t.Errorf("%q: got %q, %v, want %q", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{"${}", "${ metadata.name }", "${env.X}", "${metadata}", "${a}${metadata.name}", "${${metadata.name}}"} {
		if got, err := score.Expand(in, resolve); !errors.Is(err, errUnknown) {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
}

func TestParsesPlaceholdersToParts(t *testing.T) {
	t.Parallel()
	want := []score.Part{
		{Literal: "x${a}$", Offset: 0},
		{Raw: `b.c\.d`, Path: []string{"b", "c.d"}, Offset: 8},
		{Literal: "y", Offset: 17},
		{Raw: "", Path: []string{""}, Offset: 18},
	}
	if diff := cmp.Diff(want, score.Parse(`x$${a}$$${b.c\.d}y${}`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// escaped returns a string that [score.Expand] turns into s.
func escaped(s string) string {
	var b strings.Builder
	closing := strings.LastIndexByte(s, '}')
	for at := 0; ; {
		dollar := strings.IndexByte(s[at:], '$')
		if dollar < 0 {
			b.WriteString(s[at:])
			return b.String()
		}
		dollar += at
		b.WriteString(s[at:dollar] + "$")
		at = dollar + 1
		if strings.HasPrefix(s[dollar:], "${") && dollar < closing {
			at = dollar + strings.IndexByte(s[dollar:], '}') + 1
		}
		b.WriteString(s[dollar:at]) // what is between ${ and } is not looked at when it is escaped
	}
}

func FuzzPlaceholders(f *testing.F) {
	for _, s := range []string{"", "$", "$$", "${a.b}", "$${a.b}", "$$${a}", "${", "${}", `${a\.b.c}`, "$${", "}${{}", "a${b}c$${d}e${f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		end := 0
		for i, p := range score.Parse(s) {
			if p.Offset < end || p.Path == nil && p.Literal == "" || p.Path != nil && p.Literal != "" {
				t.Fatalf("part %d of %q: %+v", i, s, p)
			}
			if p.Path != nil {
				if raw := "${" + p.Raw + "}"; !strings.HasPrefix(s[p.Offset:], raw) {
					t.Fatalf("part %d of %q is not at %d: %+v", i, s, p.Offset, p)
				}
				end = p.Offset + len(p.Raw) + 3
			}
		}
		back, err := score.Expand(escaped(s), func([]string) (string, error) { return "", fmt.Errorf("expanded: %w", errUnknown) })
		if err != nil || back != s {
			t.Fatalf("%q escaped and expanded is %q, %v", s, back, err)
		}
	})
}
