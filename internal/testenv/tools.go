package testenv

import (
	"os"
	"path/filepath"
	"testing"
)

// Tool returns the path of what a Debian package brings, by its place in the package: on this machine, or where
// tools/setup.sh unpacks packages. A test that needs one that is missing fails.
func Tool(t testing.TB, pattern string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"/", "/var/cache/reconciler/tools/root", filepath.Join(cache, "reconciler", "tools", "root")} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return found[0]
		}
	}
	t.Fatalf("there is no %s: run tools/setup.sh", pattern)
	return ""
}
