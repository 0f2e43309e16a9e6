package postgres

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// versionTimeout bounds "postgres --version".
const versionTimeout = 10 * time.Second

// binaries are the programs of one installed server.
type binaries struct {
	initdb, postgres string
	major            int
}

// places are the directories where distributions put the programs, beside PATH.
var places = [...]string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin"}

// findBinaries looks for a server: only in dir if it is not "", else in the usual places, newest first, then in PATH.
// major is the version that an existing cluster needs, 0 for any that is new enough.
func findBinaries(ctx context.Context, dir string, major int) (binaries, error) {
	var seen []string
	for _, candidate := range candidates(dir) {
		b, err := inspect(ctx, candidate)
		if err != nil {
			continue // Not there, or not runnable here: another place may do.
		}
		if b.major*10000 >= oldest && (major == 0 || major == b.major) {
			return b, nil
		}
		seen = append(seen, fmt.Sprintf("%s has version %d", candidate, b.major))
	}
	where := "in the usual places and in PATH"
	if dir != "" {
		where = "in " + dir
	}
	want := fmt.Sprintf("%d or newer", oldest/10000)
	if major != 0 {
		want = fmt.Sprintf("%d, which made the existing data", major)
	}
	f := fault.New(fault.PostgresMissing, "found no PostgreSQL server of version %s %s", want, where)
	if len(seen) > 0 {
		f.Message += " (" + strings.Join(seen, ", ") + ")"
	}
	return binaries{}, f
}

// BinDir returns where the programs of the newest server are: dir if it is not "", else one of the usual places. The error
// is a [fault.PostgresMissing].
func BinDir(ctx context.Context, dir string) (string, error) {
	b, err := findBinaries(ctx, dir, 0)
	return filepath.Dir(b.postgres), err
}

func candidates(dir string) []string {
	if dir != "" {
		return []string{dir}
	}
	var dirs []string
	for _, pattern := range places {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // Only a malformed pattern gives an error, and these are fixed.
		}
		slices.SortFunc(found, func(a, b string) int { return numberIn(b) - numberIn(a) })
		dirs = append(dirs, found...)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	return dirs
}

// numberIn returns the first number in a path: /usr/lib/postgresql/17/bin has 17.
func numberIn(path string) int {
	from := strings.IndexAny(path, "0123456789")
	if from < 0 {
		return 0
	}
	digits := path[from:]
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

// inspect says which version the programs in dir have.
func inspect(ctx context.Context, dir string) (binaries, error) {
	b := binaries{initdb: filepath.Join(dir, "initdb"), postgres: filepath.Join(dir, "postgres")}
	if _, err := os.Stat(b.initdb); err != nil {
		return b, fmt.Errorf("find initdb: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, b.postgres, "--version").Output()
	if err != nil {
		return b, fmt.Errorf("ask %s for its version: %w", b.postgres, err)
	}
	// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
	_, version, found := strings.Cut(string(out), "(PostgreSQL) ")
	if !found {
		return b, fmt.Errorf("ask %s for its version: unknown answer %q", b.postgres, out)
	}
	b.major = numberIn(version)
	return b, nil
}
