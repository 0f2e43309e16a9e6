package queue_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEachPromiseOfTheDocumentationHasItsTest(t *testing.T) {
	t.Parallel()
	names := func(pattern string, files ...string) (found []string) {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
				found = append(found, m[1])
			}
		}
		slices.Sort(found)
		return found
	}
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	promised := names("(?m)^\\| .* \\| `(TestPromise\\w+)` \\|$", "../../docs/reliability.md")
	if diff := cmp.Diff(promised, names(`(?m)^func (TestPromise\w+)\(`, tests...)); diff != "" {
		t.Error(diff)
	}
}
