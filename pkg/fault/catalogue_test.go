package fault_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
)

// declared returns the code constants of the package's source by name.
func declared(t *testing.T) map[string]fault.Code {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]fault.Code{}
	for _, entry := range files {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Code" {
				return true
			}
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out[spec.Names[0].Name] = fault.Code(value)
			return true
		})
	}
	return out
}

func TestEveryCodeHasACompleteEntryAndIsUsedOnce(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^ORC-[1-9][0-9]{3}$`)
	seen := map[fault.Code]string{}
	var want []fault.Code
	for name, code := range declared(t) {
		if other := seen[code]; other != "" {
			t.Errorf("%s and %s are both %s", name, other, code)
		}
		seen[code] = name
		want = append(want, code)
		e := code.Entry()
		if !form.MatchString(string(code)) || e.Title == "" || e.Title == "Unknown code" || e.Why == "" || e.Remedy == "" {
			t.Errorf("%s (%s) is not complete: %+v", name, code, e)
		}
		if strings.HasSuffix(e.Title, ".") || !strings.HasSuffix(e.Why, ".") || !strings.HasSuffix(strings.TrimRight(e.Remedy, "`)"), ".") {
			t.Errorf("%s: titles have no full stop, sentences one: %+v", name, e)
		}
		if !strings.HasSuffix(code.Link(), "#"+strings.ToLower(string(code))) {
			t.Errorf("%s links to %s", name, code.Link())
		}
	}
	slices.Sort(want)
	if len(want) < 100 {
		t.Fatalf("only %d codes are found", len(want))
	}
	if diff := cmp.Diff(want, fault.Codes()); diff != "" {
		t.Errorf("codes and catalogue differ: %s", diff)
	}
}

func TestNoTextSpeaksOfWhatIsNot(t *testing.T) {
	t.Parallel()
	for code, wrong := range map[fault.Code]string{fault.PlanUnknown: "pruned|kept", fault.TargetForeign: "gitops", fault.Internal: "It is tried again", fault.ScoreOverride: "^Split"} {
		if e := code.Entry(); regexp.MustCompile(wrong).MatchString(e.Remedy) || regexp.MustCompile(wrong).MatchString(e.Why) {
			t.Errorf("%s: %+v", code, e)
		}
	}
}

func TestUnknownCodeSaysSo(t *testing.T) {
	t.Parallel()
	if e := fault.Code("ORC-0000").Entry(); e.Title != "Unknown code" || e.Remedy == "" {
		t.Errorf("got %+v", e)
	}
}
