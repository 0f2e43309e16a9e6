package check

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// scoreFile is what a Score file says. The zero value is one that is not there.
type scoreFile struct {
	// path is its own, below the repository; name is the application's.
	path, name, serial string
	// suite is what it is deployed with, "" for nothing.
	suite string
	// broken: it cannot be deployed. database and shared: it has a database, and the resource that several applications share.
	broken, database, shared bool
}

func (f scoreFile) found() bool { return f.path != "" }

var named = regexp.MustCompile(`metadata: \{name: ([^,}]+)`)

// parse reads the few things of a Score file that matter here, as they are written by who makes these files.
func parse(file, text string) scoreFile {
	f := scoreFile{
		path: file, serial: serialIn(text), broken: strings.HasPrefix(text, "# broken"),
		database: strings.Contains(text, "{type: postgres}"), shared: strings.Contains(text, "{type: common, id: all}"),
	}
	if found := named.FindStringSubmatch(text); found != nil {
		f.name = found[1]
	}
	_, after, _ := strings.Cut(text, "reconciler.dev/atomic: ")
	f.suite, _, _ = strings.Cut(after, "}")
	return f
}

// score reads the Score files of a commit of a repository.
func (c *checker) score(ctx context.Context, repository, commit string) ([]scoreFile, error) {
	key := commit
	if strings.Contains(commit, "/") { // a branch is another one in each repository
		key = repository + " " + commit
	}
	if list, read := c.files[key]; read {
		return list, nil
	}
	texts, err := tree(ctx, c.Clones[repository], commit)
	if err != nil {
		return nil, err
	}
	list := []scoreFile{}
	for file, text := range texts {
		if path.Base(file) == "score.yaml" {
			list = append(list, parse(file, text))
		}
	}
	slices.SortFunc(list, func(a, b scoreFile) int { return strings.Compare(a.path, b.path) })
	c.files[key] = list
	return list, nil
}

// scoreOf reads the Score file of an application that had a name at a commit.
func (c *checker) scoreOf(ctx context.Context, repository, commit, name string) (scoreFile, error) {
	list, err := c.score(ctx, repository, commit)
	if i := slices.IndexFunc(list, func(f scoreFile) bool { return f.name == name }); i >= 0 {
		return list[i], err
	}
	return scoreFile{}, err
}

// scoreAt reads the Score file at a path of the newest commit.
func (c *checker) scoreAt(ctx context.Context, repository, file string) (scoreFile, error) {
	list, err := c.score(ctx, repository, tip)
	if i := slices.IndexFunc(list, func(f scoreFile) bool { return f.path == file }); i >= 0 {
		return list[i], err
	}
	return scoreFile{}, err
}

var errNoSerial = errors.New("no serial")

// made returns the Score file that a generation of an application was made of: none if it removes it.
func (c *checker) made(ctx context.Context, id, generation int64) (scoreFile, error) {
	r, known := c.history.releases[key{id, generation}]
	switch {
	case !known:
		return scoreFile{}, fmt.Errorf("%w: application %d has no release %d", errNoSerial, id, generation)
	case r.Digest == "":
		return scoreFile{}, nil
	case r.Of != nil:
		return c.made(ctx, id, *r.Of)
	}
	a, name := c.history.applications[id], c.history.nameOf(id, generation)
	f, err := c.scoreOf(ctx, a.Repository, r.Commit, name)
	if err == nil && (!f.found() || f.broken) {
		err = fmt.Errorf("%w: generation %d of %s in %s was made of %.7s, where its file is missing or broken", errNoSerial, generation, name, a.Environment, r.Commit)
	}
	return f, err
}

// wants is [checker.made], with what contradicts itself as a violation.
func (c *checker) wants(ctx context.Context, id, generation int64) (scoreFile, error) {
	f, err := c.made(ctx, id, generation)
	if errors.Is(err, errNoSerial) {
		c.violated("%v", err)
		return scoreFile{}, nil
	}
	return f, err
}

// expect returns the serial that a generation of an application puts into its target, "" if it removes it.
func (c *checker) expect(ctx context.Context, id, generation int64) (string, error) {
	f, err := c.wants(ctx, id, generation)
	return f.serial, err
}
