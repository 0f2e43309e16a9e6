package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// checkEnd compares the targets with the newest commit of each repository: each application, and then all files.
func (c *checker) checkEnd(ctx context.Context) error {
	all := map[string][]standing{c.InGit: nil}
	for environment := range c.Folders {
		all[environment] = nil
	}
	for repository := range c.Clones {
		err := c.eachFile(ctx, repository, func(f scoreFile) error {
			for _, environment := range c.Environments[repository] {
				look := c.checkApplication
				if environment == c.Guided {
					look = c.checkGuidedEnd
				}
				a, known := c.history.live(environment, repository, f.path)
				if !known {
					a = applicationRow{Environment: environment, Repository: repository, Name: f.name}
				}
				s, err := look(ctx, a, f)
				if err != nil {
					return err
				}
				all[environment] = append(all[environment], s)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for environment, standings := range all {
		if err := c.checkFiles(ctx, environment, standings); err != nil {
			return err
		}
	}
	return nil
}

// eachFile calls f for each Score file of a repository's newest commit.
func (c *checker) eachFile(ctx context.Context, repository string, f func(file scoreFile) error) error {
	list, err := c.score(ctx, repository, tip)
	if err != nil {
		return err
	}
	for _, file := range list {
		if err := f(file); err != nil {
			return err
		}
	}
	return nil
}

// checkApplication compares an application, without an id if there is none, with its Score file. Of a broken one, what was
// applied last stays, and so does what is deployed with one that is broken and was not released before, or was rolled back.
func (c *checker) checkApplication(ctx context.Context, a applicationRow, f scoreFile) (standing, error) {
	kept, err := c.keptBack(ctx, a, f)
	if err != nil {
		return standing{}, err
	}
	want := f
	if f.broken || kept {
		if a.ID == 0 || a.Applied == 0 {
			return standing{}, nil // it never worked
		}
		if want, err = c.wants(ctx, a.ID, a.Applied); err != nil {
			return standing{}, err
		}
	}
	if want.serial != f.serial || f.broken {
		c.Numbers["applications left as they were"]++
	} else {
		c.Numbers["applications at their newest commit"]++
	}
	have, err := c.inTarget(ctx, a.Environment, want.name)
	if err != nil {
		return standing{}, err
	}
	if a.ID == 0 || have != want.serial {
		c.violated("%s in %s is %q in the end, want %q (broken: %t, known: %t)", want.name, a.Environment, have, want.serial, f.broken, a.ID != 0)
	}
	return c.standing(a, want), nil
}

// stands returns the serial that an application has in its target: under its newest name that is there.
func (c *checker) stands(ctx context.Context, a applicationRow) (serial string, err error) {
	for _, name := range c.history.names(a.ID) {
		if serial, err = c.inTarget(ctx, a.Environment, name); err != nil || serial != "" {
			break
		}
	}
	return serial, err
}

// inTarget returns the serial that is under a name in a target, "" if nothing is.
func (c *checker) inTarget(ctx context.Context, environment, name string) (string, error) {
	if environment == c.InGit {
		return c.committed(ctx, tip, name)
	}
	text, err := os.ReadFile(filepath.Join(c.Folders[environment].Path, filepath.FromSlash(manifest(name))))
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read the folder: %w", err)
	}
	return serialIn(string(text)), nil
}
