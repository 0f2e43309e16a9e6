package check

import (
	"context"
	"errors"
	"slices"
	"time"
)

// What is deployed all or none. Which applications those are, their Score files say; the product gives their runs a number.
// What became of a run is told by what came next of its application.

// suite is what applications are deployed in all or none.
type suite struct{ repository, environment, name string }

// checkTogether looks at what is deployed all or none: by the numbers of runs, and by what is there in the end.
func (c *checker) checkTogether(ctx context.Context) error {
	c.checkGroups()
	return errors.Join(c.checkNumbers(ctx), c.checkApart(ctx))
}

// checkNumbers looks whether each run has a number if its Score file says what it is deployed with, and only then, and those
// that were made at once the same.
func (c *checker) checkNumbers(ctx context.Context) error {
	type moment struct {
		suite
		at time.Time
	}
	numbers := map[moment]int64{}
	for _, r := range c.history.runs {
		release, known := c.history.releases[key{r.Application, r.Generation}]
		if r.Kind != "deploy" || !known {
			continue
		}
		f, err := c.scoreOf(ctx, r.Repository, release.Commit, r.Name)
		if err != nil {
			return err
		}
		if r.Atomic != f.suite || (r.Together > 0) != (f.suite != "") {
			c.violated("%s in %s: generation %d of %.7s is to be deployed with %q, and goes with %q as number %d", r.Name, r.Environment, r.Generation, release.Commit, f.suite, r.Atomic, r.Together)
		}
		if f.suite == "" {
			continue
		}
		// What one transaction makes has the same time.
		m := moment{suite{r.Repository, r.Environment, f.suite}, r.Created}
		if number, before := numbers[m]; before && number != r.Together {
			c.violated("%s in %s: generation %d of %.7s has number %d, and what was made at once with it has %d", r.Name, r.Environment, r.Generation, release.Commit, r.Together, number)
		}
		numbers[m] = r.Together
	}
	return nil
}

// checkApart looks, without the numbers of runs, whether applications that one commit changed to be deployed together, and
// that nothing has changed since, are all at that commit in the end, or none of them is.
func (c *checker) checkApart(ctx context.Context) error {
	for repository := range c.Clones {
		// Files by their suite and the commit's serial.
		sets := map[[2]string][]scoreFile{}
		err := c.eachFile(ctx, repository, func(f scoreFile) error {
			if f.suite != "" && !f.broken {
				set := [2]string{f.suite, f.serial}
				sets[set] = append(sets[set], f)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for set, files := range sets {
			for _, environment := range c.Environments[repository] {
				if err := c.checkSet(ctx, suite{repository, environment, set[0]}, set[1], files); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkSet looks at applications whose newest files are of one commit, by those whose newest runs are of one: they were tried
// together, be it when they came or when something that kept them back was lifted.
func (c *checker) checkSet(ctx context.Context, s suite, serial string, files []scoreFile) error {
	there, not := map[string][]string{}, map[string][]string{}
	for _, f := range files {
		a, known := c.history.live(s.environment, s.repository, f.path)
		newest, tried := c.history.newest(a.ID)
		if !known || tried.ID == 0 {
			continue // what is missing is found elsewhere
		}
		switch asked, err := c.expect(ctx, a.ID, tried.Generation); {
		case err != nil:
			return err
		case asked != serial:
			continue
		}
		have, err := c.stands(ctx, a)
		if err != nil {
			return err
		}
		if have == serial {
			// Where a person went back to it afterwards, or would not have it go back, it is there on its own.
			if newest.Kind != "rollback" || newest.State != "cancelled" && !c.history.byAPerson(newest) {
				there[tried.Commit] = append(there[tried.Commit], f.name)
			}
			continue
		}
		was, err := c.wasThere(ctx, a.ID, serial)
		if err != nil {
			return err
		}
		// One that had come out with the others, and was tried again alone, goes back alone.
		if !was {
			not[tried.Commit] = append(not[tried.Commit], f.name)
		}
	}
	for commit := range not {
		c.Numbers["sets that went back"]++
		if len(there[commit]) > 0 {
			c.violated("of %s, which %.7s deploys all or none in %s, %v are there in the end, and %v are not", s.name, commit, s.environment, there[commit], not[commit])
		}
	}
	return nil
}

// wasThere says that an application was once deployed as a serial, and not taken back by the product.
func (c *checker) wasThere(ctx context.Context, application int64, serial string) (bool, error) {
	runs := c.history.after(application, 0)
	for i, r := range runs {
		if r.Kind != "deploy" || r.State != "succeeded" || i+1 < len(runs) && c.history.takenBack(r, runs[i+1]) {
			continue
		}
		if is, err := c.expect(ctx, application, r.Generation); err != nil || is == serial {
			return err == nil, err
		}
	}
	return false, nil
}

// byAPerson says that a person asked for a rollback: it is told on the commit that it goes back to, and not on the one that
// failed.
func (h *history) byAPerson(r runRow) bool {
	of := h.releases[key{r.Application, r.Generation}].Of
	return of != nil && h.releases[key{r.Application, *of}].Commit == r.Commit
}

// brokenOff says that a run is why the others of its group go back: it failed or was cancelled, or a person rolled it back
// before all of them were there, and no commit had taken its place.
func (h *history) brokenOff(r runRow, doubt time.Duration) bool {
	newer := h.after(r.Application, r.Generation)
	ended := r.State == "failed" || r.State == "cancelled"
	switch {
	case len(newer) == 0:
		return ended
	case newer[0].Kind != "rollback":
		return false
	case ended:
		return true
	default:
		return (r.State == "superseded" || h.besideOthers(r, newer[0], doubt)) && !h.takenBack(r, newer[0])
	}
}

// doubt is how far apart two moments must be for their order to be known: a transaction has the time of its beginning and waits
// for locks, and the clock is stepped.
const doubt = 20 * time.Second

// besideOthers says that others of a run's group were under way when the next one of its application was made: maybe, or surely
// if the doubt is taken away.
func (h *history) besideOthers(r, next runRow, doubt time.Duration) bool {
	return slices.ContainsFunc(h.runs, func(m runRow) bool {
		return r.Together > 0 && m.Together == r.Together && m.Application != r.Application && m.Created.Before(next.Created.Add(doubt)) && next.Created.Before(m.Finished.Add(doubt)) &&
			!slices.ContainsFunc(h.after(m.Application, m.Generation), func(n runRow) bool { return n.Created.Before(next.Created.Add(-doubt)) })
	})
}

// takenBack says that nobody but the product went back from a run: the rollback is told on the run's commit, and does not bring
// back a release of that commit itself.
func (h *history) takenBack(r, next runRow) bool {
	of := h.releases[key{next.Application, next.Generation}].Of
	return next.Kind == "rollback" && next.Commit == r.Commit && (of == nil || h.releases[key{r.Application, *of}].Commit != r.Commit)
}

// torn says that another run of a run's group was broken off: surely, or maybe.
func (h *history) torn(r runRow) (surely, maybe bool) {
	for _, other := range h.runs {
		if r.Together > 0 && other.ID != r.ID && other.Together == r.Together {
			surely, maybe = surely || h.brokenOff(other, -doubt), maybe || h.brokenOff(other, doubt)
		}
	}
	return surely, maybe
}

// lost says that what a commit asked for did not come about, or was taken back.
func (c *checker) lost(r runRow) bool {
	_, torn := c.history.torn(r)
	return r.State == "failed" || r.State == "cancelled" || torn
}

// keptBack says that what a file asks for was never tried, because it is deployed with an application whose newest run failed, or
// whose file is broken now.
func (c *checker) keptBack(ctx context.Context, a applicationRow, f scoreFile) (bool, error) {
	for id, other := range c.history.applications {
		_, tried := c.history.newest(id)
		if f.suite == "" || id == a.ID || other.Removed || other.Repository != a.Repository || other.Environment != a.Environment {
			continue
		}
		now, err := c.scoreAt(ctx, a.Repository, other.Path)
		if err != nil {
			return false, err
		}
		failed := tried.State == "failed" || tried.State == "cancelled"
		if tried.Atomic == f.suite && (failed || now.broken) || now.broken && now.suite == f.suite {
			return true, nil
		}
	}
	return false, nil
}

// checkGroups looks at what is deployed all or none: where one failed, none of the others stays; where none failed, none goes
// back; and what a newer commit changes meanwhile comes into the same group.
func (c *checker) checkGroups() {
	groups, members := map[int64]bool{}, map[int64][]int64{}
	for _, r := range c.history.runs {
		if r.Together == 0 {
			continue
		}
		members[r.Together] = append(members[r.Together], r.Application)
		surely, torn := c.history.torn(r)
		groups[r.Together] = groups[r.Together] || torn
		newer := c.history.after(r.Application, r.Generation)
		if len(newer) == 0 {
			if surely && r.State == "succeeded" {
				c.violated("%s in %s stays at generation %d of %.7s, and another one of its group failed", r.Name, r.Environment, r.Generation, r.Commit)
			}
			continue
		}
		c.checkNext(r, newer[0], torn)
	}
	for number, torn := range groups {
		if slices.Sort(members[number]); len(slices.Compact(members[number])) > 1 {
			c.Numbers["groups of more than one"]++
		}
		if torn {
			c.Numbers["groups taken back"]++
		} else {
			c.Numbers["groups"]++
		}
	}
}

// checkNext looks at what took the place of a run of a group.
func (c *checker) checkNext(r, next runRow, torn bool) {
	ended := r.State == "failed" || r.State == "cancelled"
	switch {
	case next.Kind == "rollback":
		if !ended && !torn && c.history.takenBack(r, next) {
			c.violated("%s in %s: generation %d of %.7s was taken back, and none of its group failed", r.Name, r.Environment, r.Generation, r.Commit)
		}
	case next.Together == r.Together:
		c.Numbers["runs that a newer commit joined"]++
	case r.State == "superseded" && next.Atomic == r.Atomic && !torn:
		c.violated("%s in %s: generation %d is not deployed with those that were under way with generation %d", r.Name, r.Environment, next.Generation, r.Generation)
	case r.State != "succeeded":
		c.Numbers["runs that left their group"]++
	}
}
