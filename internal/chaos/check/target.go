package check

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
)

// manifest is where the Deployment of an application is, below an environment's folder.
func manifest(name string) string { return name + "/" + name + ".deployment.apps.yaml" }

// checkDeployment looks at every commit of the deployment repository: it belongs to a run, it is the only one of its
// generation but for one that finishes it, generations grow, it brings what its generation is made of, and it changes something, unless it had to move
// the branch past what an earlier run may still push.
func (c *checker) checkDeployment(ctx context.Context) error {
	list, err := commits(ctx, c.Deployment, tip)
	if err != nil {
		return err
	}
	// Runs are numbered as they are made: those of an application, and those of a name, which may be another application's later.
	applied, had := map[int64]runRow{}, map[string]runRow{}
	for _, made := range list[1:] { // the first is Gitea's
		c.Numbers["deployment commits"]++
		r, known := c.runOf(made)
		if !known {
			c.violated("commit %.7s of the deployment repository belongs to no run: %v", made.hash, made.trailers)
			continue
		}
		if len(made.changed) == 0 {
			// It only moves the branch, and may be there once for each attempt of its run.
			c.Numbers["empty deployment commits"]++
			if !c.history.contested(r) {
				c.violated("commit %.7s of generation %d of %s changes nothing, and no run before can still push", made.hash, r.Generation, r.Name)
			}
		}
		for _, last := range []runRow{applied[r.Application], had[r.Name]} {
			if r.ID < last.ID || r.ID == last.ID && !c.finishes(made, r) {
				c.violated("commit %.7s applies generation %d of %s (application %d) after generation %d (application %d)",
					made.hash, r.Generation, r.Name, r.Application, last.Generation, last.Application)
				break
			}
		}
		applied[r.Application], had[r.Name] = r, r
		switch made.changed[c.root(c.InGit)+common] {
		case "A":
			c.Numbers["shared objects that came"]++
		case "D":
			c.Numbers["shared objects that went"]++
		}
		c.checkData(made, r)
		if err := c.checkBrings(ctx, made, r); err != nil {
			return err
		}
	}
	return nil
}

// finishes says that a commit does what a second attempt of its run may have to do after a first one that was pushed and broken
// off: it changes nothing, or takes away what applications share because nobody else needs that by now.
func (c *checker) finishes(made commit, r runRow) bool {
	for file, how := range made.changed {
		if how != "D" || r.Tried < 2 || !slices.Contains(c.shared(c.InGit), file) {
			return false
		}
	}
	return true
}

// checkData looks whether a commit takes a database away that nobody let go.
func (c *checker) checkData(made commit, r runRow) {
	for file, how := range made.changed {
		if how != "D" || !strings.HasSuffix(file, ".statefulset.apps.yaml") {
			continue
		}
		c.Numbers["databases taken away"]++
		if !c.Confirmed[r.Plan] {
			c.violated("commit %.7s of generation %d of %s, a run of kind %s, takes %s away, and nobody confirmed plan %s", made.hash, r.Generation, r.Name, r.Kind, file, r.Plan)
		}
	}
}

// checkBrings looks whether a commit leaves exactly the files of the generation that it applies, under none of the names that the
// application has had. What applications share is looked at in the end.
func (c *checker) checkBrings(ctx context.Context, made commit, r runRow) error {
	want, err := c.wants(ctx, r.Application, r.Generation)
	if err != nil {
		return err
	}
	have, err := c.committed(ctx, made.hash, r.Name)
	if err != nil {
		return err
	}
	if have != want.serial {
		c.violated("commit %.7s applies generation %d of %s and brings %q, want %q", made.hash, r.Generation, r.Name, have, want.serial)
	}
	out, err := git(ctx, c.Deployment, "ls-tree", "-r", "--name-only", made.hash)
	if err != nil {
		return err
	}
	there, names := listing{}, c.history.names(r.Application)
	for _, file := range strings.Fields(out) {
		if slices.Contains(names, c.owner(file)) {
			there.put(file, "")
		}
	}
	wanted := slices.DeleteFunc(c.own(c.InGit, want), func(file string) bool { return strings.HasPrefix(file, secrets) })
	for file := range there {
		if !slices.Contains(wanted, file) && !mayKeep(r, file) {
			c.violated("commit %.7s applies generation %d of %s and leaves %s, which does not belong to it", made.hash, r.Generation, r.Name, file)
		}
	}
	for _, file := range wanted {
		if _, is := there[file]; !is {
			c.violated("commit %.7s applies generation %d of %s and does not bring %s", made.hash, r.Generation, r.Name, file)
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
	name := made.trailers["Application"]
	for _, r := range c.history.of(made.trailers["Environment"], name) {
		if r.Name == name && r.Generation == generation && r.Plan == made.trailers["Plan"] && r.Repository+"@"+r.Commit == made.trailers["Source"] {
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

// checkSeen compares what was seen of a name with the generations of who had it. A generation under another name takes it away.
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
		if r.Name != name {
			serial = ""
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
