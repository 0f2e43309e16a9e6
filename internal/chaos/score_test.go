//go:build chaos

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// scoreOptions say what is in a Score file.
type scoreOptions struct {
	// name is the application's: at first that of its folder.
	name string
	// shared: it uses the resource that several applications share.
	shared bool
	// serial tells from which commit it is.
	serial int
	// broken: it refers to nothing.
	broken bool
	// suite is what it is deployed with or not at all, 0 for nothing.
	suite int
}

// sharing is how a Score file says that it uses what several applications share.
const sharing = "  common: {type: common, id: all}\n"

// score is a Score file in a folder.
func score(folder string, o scoreOptions) string {
	var b strings.Builder
	metadata := "name: " + o.name
	if o.suite > 0 {
		metadata += fmt.Sprintf(", annotations: {reconciler.dev/atomic: suite-%d}", o.suite)
	}
	database := hasDatabase(folder)
	if o.broken {
		b.WriteString("# broken\n")
	}
	fmt.Fprintf(&b, "apiVersion: score.dev/v1b1\nmetadata: {%s}\nservice: {ports: {web: {port: 80, targetPort: 8080}}}\n", metadata)
	fmt.Fprintf(&b, "containers:\n  main:\n    image: registry.example/%s:%d\n    variables:\n      SERIAL: \"s%06d\"\n", folder, o.serial, o.serial)
	if database {
		b.WriteString("      DATABASE: ${resources.db.host}\n      PASSWORD: ${resources.db.password}\n")
	}
	if o.broken {
		b.WriteString("      NOTHING: ${resources.nothing.host}\n")
	}
	if database || o.shared {
		b.WriteString("resources:\n")
	}
	if database {
		b.WriteString("  db: {type: postgres}\n")
	}
	if o.shared {
		b.WriteString(sharing)
	}
	return b.String()
}

// hasDatabase says that an application has a database, so that its removal waits for a person: every fifth.
func hasDatabase(name string) bool {
	return strings.HasSuffix(name, "0") || strings.HasSuffix(name, "5")
}

func (a *author) put(folder string, o scoreOptions) {
	a.Helper()
	file := filepath.Join(a.dir, folder, "score.yaml")
	a.must(os.MkdirAll(filepath.Dir(file), 0o755))
	a.must(os.WriteFile(file, []byte(score(folder, o)), 0o644))
	a.touched = folder
}

// now returns what the Score file in a folder says of the application that stays as long as nobody changes it, with another serial.
func (a *author) now(folder string, serial int) scoreOptions {
	a.Helper()
	text, err := os.ReadFile(filepath.Join(a.dir, folder, "score.yaml"))
	a.must(err)
	_, after, _ := strings.Cut(string(text), "metadata: {name: ")
	return scoreOptions{serial: serial, name: after[:strings.IndexAny(after, ",}")], shared: strings.Contains(string(text), sharing)}
}

// called returns the name of the application in a folder.
func (a *author) called(folder string) string {
	a.Helper()
	return a.now(folder, 0).name
}
