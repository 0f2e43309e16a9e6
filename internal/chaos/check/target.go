package check

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// manifest is where the Deployment of an application is, below an environment's folder.
func manifest(name string) string { return name + "/" + name + ".deployment.apps.yaml" }

// checkDeployment looks at every commit of the deployment repository: it belongs to a run, it is the only one of its
// generation, generations grow, it brings what its generation is made of, and it changes something, unless it had to move
// the branch past what an earlier run may still push.
func (c *checker) checkDeployment(ctx context.Context) error {
	list, err := commits(ctx, c.Deployment, "origin/main")
	if err != nil {
		return err
	}
	before := map[string]runRow{}
	for _, made := range list[1:] { // the first is Gitea's
		c.Numbers["deployment commits"]++
		r, known := c.runOf(made)
		if !known {
			c.violated("commit %.7s of the deployment repository belongs to no run: %v", made.hash, made.trailers)
			continue
		}
		least := int64(1) // how much a generation must be above the last one
		if made.changed == 0 {
			// It only moves the branch, and may be there once for each attempt of its run.
			c.Numbers["empty deployment commits"]++
			least = 0
			if !c.history.contested(r) {
				c.violated("commit %.7s of generation %d of %s changes nothing, and no run before can still push", made.hash, r.Generation, r.Name)
			}
		}
		if last, again := before[r.Name]; again && (r.Application < last.Application || r.Application == last.Application && r.Generation < last.Generation+least) {
			c.violated("commit %.7s applies generation %d of %s (application %d) after generation %d (application %d)",
				made.hash, r.Generation, r.Name, r.Application, last.Generation, last.Application)
		}
		before[r.Name] = r
		want, err := c.expect(ctx, r.Application, r.Generation)
		if err != nil {
			return err
		}
		have, err := c.committed(ctx, made.hash, r.Name)
		if err != nil {
			return err
		}
		if have != want {
			c.violated("commit %.7s applies generation %d of %s and brings %q, want %q", made.hash, r.Generation, r.Name, have, want)
		}
	}
	return nil
}

// runOf returns the run that a commit says it belongs to.
func (c *checker) runOf(made commit) (runRow, bool) {
	generation, err := strconv.ParseInt(made.trailers["Generation"], 10, 64)
	if err != nil {
		return runRow{}, false
	}
	for _, r := range c.history.of(made.trailers["Environment"], made.trailers["Application"]) {
		if r.Generation == generation && r.Plan == made.trailers["Plan"] && r.Repository+"@"+r.Commit == made.trailers["Source"] {
			return r, true
		}
	}
	return runRow{}, false
}

// committed returns the serial of an application at a commit of the deployment repository, "" if it is not there.
func (c *checker) committed(ctx context.Context, hash, name string) (string, error) {
	text, _, err := show(ctx, c.Deployment, hash, path.Join("environments", c.InGit, manifest(name)))
	return serialIn(text), err
}

// checkFolders looks at what was seen in the folders over time: it must be the generations in their order, each at most once.
// That one was not seen is no fault, because the next may have come at once. One that was not approved must not be seen.
func (c *checker) checkFolders(ctx context.Context) error {
	for environment, folder := range c.Folders {
		for name, seen := range folder.Observed {
			if err := c.checkSeen(ctx, environment, name, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) checkSeen(ctx context.Context, environment, name string, seen []string) error {
	var want []string
	for _, r := range c.history.of(environment, name) {
		if c.asks(r) && !c.history.approved(r.ID) {
			continue
		}
		serial, err := c.expect(ctx, r.Application, r.Generation)
		if err != nil {
			return err
		}
		want = append(want, serial)
	}
	at := 0
	for i, serial := range seen {
		c.Numbers["folder changes"]++
		for at < len(want) && want[at] != serial {
			at++
		}
		if at == len(want) {
			c.violated("%s in %s was %v over time; number %d is out of order, or there twice: its generations are %v", name, environment, seen, i+1, want)
			break
		}
		at++ // the same again is another generation
	}
	return nil
}

// checkEnd compares the targets with the newest commit of each repository.
func (c *checker) checkEnd(ctx context.Context) error {
	expected := map[[2]string]bool{}
	for repository, clone := range c.Clones {
		err := c.eachFile(ctx, repository, clone, func(name string, f scoreFile) error {
			for _, environment := range c.Environments[repository] {
				look := c.checkApplication
				if environment == c.Guided {
					look = func(ctx context.Context, _, name string, f scoreFile) error { return c.checkGuidedEnd(ctx, name, f) }
				}
				if err := look(ctx, environment, name, f); err != nil {
					return err
				}
				expected[[2]string{environment, name}] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return c.checkStrangers(ctx, expected)
}

// eachFile calls f for each application that the newest commit of a repository has a Score file of.
func (c *checker) eachFile(ctx context.Context, repository, clone string, f func(name string, file scoreFile) error) error {
	list, err := git(ctx, clone, "ls-tree", "-r", "--name-only", "origin/main")
	if err != nil {
		return err
	}
	for path := range strings.Lines(list) {
		name, isScore := strings.CutSuffix(strings.TrimSpace(path), "/score.yaml")
		if !isScore {
			continue
		}
		file, err := c.score(ctx, repository, "origin/main", name)
		if err != nil {
			return err
		}
		if err := f(name, file); err != nil {
			return err
		}
	}
	return nil
}

// checkStrangers looks for what is in a target and should not be.
func (c *checker) checkStrangers(ctx context.Context, expected map[[2]string]bool) error {
	committed, err := git(ctx, c.Deployment, "ls-tree", "--name-only", "origin/main:environments/"+c.InGit)
	if err != nil {
		return err
	}
	names := map[string][]string{c.InGit: strings.Fields(committed)}
	for environment, folder := range c.Folders {
		written, err := os.ReadDir(folder.Path)
		if err != nil {
			return err
		}
		for _, entry := range written {
			names[environment] = append(names[environment], entry.Name())
		}
	}
	for environment, list := range names {
		for _, name := range list {
			if !expected[[2]string{environment, name}] && !strings.HasPrefix(name, "_") && !strings.HasPrefix(name, ".") {
				c.violated("%s is in the target of %s, and no newest commit has it", name, environment)
			}
		}
	}
	return nil
}

// checkApplication compares an application with its Score file. Of a broken one, what was applied last stays.
func (c *checker) checkApplication(ctx context.Context, environment, name string, f scoreFile) error {
	a, known := c.history.live(environment, name)
	serial := f.serial
	if f.broken {
		if !known {
			return nil // it never worked
		}
		var err error
		if serial, err = c.expect(ctx, a.ID, a.Applied); err != nil {
			return err
		}
		c.Numbers["applications left as they were"]++
	} else {
		c.Numbers["applications at their newest commit"]++
	}
	have, err := c.inTarget(ctx, environment, name)
	if err != nil {
		return err
	}
	if !known || have != serial {
		c.violated("%s in %s is %q in the end, want %q (broken: %t, known: %t)", name, environment, have, serial, f.broken, known)
	}
	return nil
}

func (c *checker) inTarget(ctx context.Context, environment, name string) (string, error) {
	if environment == c.InGit {
		return c.committed(ctx, "origin/main", name)
	}
	text, err := os.ReadFile(filepath.Join(c.Folders[environment].Path, filepath.FromSlash(manifest(name))))
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read the folder: %w", err)
	}
	return serialIn(string(text)), nil
}
