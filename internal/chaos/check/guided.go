package check

import (
	"context"
	"slices"
	"strings"
)

// stepKey names a step of a run.
type stepKey struct {
	run  int64
	name string
}

type stepRow struct {
	Run     int64
	Name    string
	Attempt int64
	Asked   bool
	// Waited is how long people were asked, in seconds.
	Waited float64
}

type approvalRow struct {
	Run      int64
	Approved bool
}

// leastAsked is how long people are asked before a question ends, in seconds by the database's clock: a minute, less what
// that clock is stepped forward by meanwhile.
const leastAsked = 35

// asks says whether a run has to be approved: the golden path asks for every other generation.
func (c *checker) asks(r runRow) bool { return r.Guided && r.Generation%2 == 0 }

// guided returns the run along the golden path that a request is for.
func (h *history) guided(environment string, s said) (runRow, bool) {
	for _, r := range h.runs {
		if r.Guided && r.Environment == environment && r.Name == s.Application && r.Generation == s.Generation && r.Commit == s.Commit {
			return r, true
		}
	}
	return runRow{}, false
}

// approved says that somebody approved a run and nobody rejected it.
func (h *history) approved(run int64) bool {
	approved, rejected := h.answers(run)
	return approved && !rejected
}

func (h *history) answers(run int64) (approved, rejected bool) {
	for _, a := range h.approvals {
		if a.Run == run {
			approved, rejected = approved || a.Approved, rejected || !a.Approved
		}
	}
	return approved, rejected
}

// after returns the runs of an application after a generation, in their order.
func (h *history) after(application, generation int64) (list []runRow) {
	for _, r := range h.runs {
		if r.Application == application && r.Generation > generation {
			list = append(list, r)
		}
	}
	return list
}

// checkGuided looks at the runs along the golden path: what failed was refused, rejected or not answered, what was cancelled
// somebody cancelled, and what was not approved wrote nothing.
func (c *checker) checkGuided(ctx context.Context) error {
	for _, r := range c.history.runs {
		if !r.Guided {
			continue
		}
		c.Numbers["guided runs "+r.State]++
		approved, rejected := c.history.answers(r.ID)
		ask := c.history.steps[stepKey{r.ID, "ask"}]
		expired := ask.Asked && !approved && ask.Waited >= leastAsked
		refused := c.deeds[r.ID] != nil && c.deeds[r.ID].refused
		switch {
		case r.State == "failed" && rejected:
			c.Numbers["guided runs rejected"]++
		case r.State == "failed" && expired:
			c.Numbers["guided runs not answered"]++
			told, err := c.asked(ctx, r)
			if err != nil {
				return err
			}
			c.Numbers["guided runs not answered and told"] += map[bool]int{true: 1}[told]
		case r.State == "failed" && !refused:
			c.violated("run %d (%s in %s, generation %d) is failed, and nobody refused or rejected it", r.ID, r.Name, r.Environment, r.Generation)
		case r.State == "cancelled" && !c.Cancels[r.ID]:
			c.violated("run %d (%s in %s, generation %d) is cancelled, and nobody did it", r.ID, r.Name, r.Environment, r.Generation)
		}
		if !c.asks(r) || approved && !rejected {
			continue
		}
		if r.State == "succeeded" || r.Writes > 0 || c.history.steps[stepKey{r.ID, "release/deliver"}].Attempt > 0 {
			c.violated("run %d (%s in %s, generation %d) is %s and wrote %d files, and nobody approved it", r.ID, r.Name, r.Environment, r.Generation, r.State, r.Writes)
		}
	}
	return nil
}

// checkAgain looks whether what failed, or was cancelled, was tried again although nobody had asked for it: by the next deployment of the
// same file. Those that are deployed together may be tried again because of another one.
func (c *checker) checkAgain(ctx context.Context) error {
	var lost runRow
	for _, r := range c.history.runs { // by application and generation
		if r.Kind != "deploy" {
			continue
		}
		before := lost
		if lost = (runRow{}); r.State == "failed" || r.State == "cancelled" {
			lost = r
		}
		if before.Application != r.Application || before.Together > 0 || r.Together > 0 || c.Resumed[before.Name] || c.Resumed[r.Name] {
			continue
		}
		c.Numbers["deployments after a lost one"]++
		same, err := stays(ctx, c.Clones[r.Repository], before.Commit, r.Commit, c.history.applications[r.Application].Path)
		if err != nil {
			return err
		}
		if same {
			c.violated("run %d (%s in %s, generation %d) tries again what was lost in generation %d, and nobody asked for it", r.ID, r.Name, r.Environment, r.Generation, before.Generation)
		}
	}
	return nil
}

// asked says whether people were ever told that a run waited for them. It is counted and no promise: reports of what goes on
// make way for others, and a question may end before they come.
func (c *checker) asked(ctx context.Context, r runRow) (bool, error) {
	var all []status
	if err := c.gitea.get(ctx, "/repos/"+r.Repository+"/commits/"+r.Commit+"/statuses?limit=50", &all); err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(s status) bool {
		return s.Context == c.context(r.Environment) && strings.Contains(s.Description, "asking")
	}), nil
}

// checkGuidedEnd compares an application with its Score file where a golden path may have kept it back: it is at its newest
// commit, or that was tried and failed, and it is as it was.
func (c *checker) checkGuidedEnd(ctx context.Context, a applicationRow, f scoreFile) (standing, error) {
	newest, tried := c.history.newest(a.ID)
	kept, err := c.keptBack(ctx, a, f)
	if err != nil {
		return standing{}, err
	}
	if newest.ID == 0 {
		if !f.broken && !kept {
			c.violated("%s in %s was never tried", f.name, c.Guided)
		}
		return standing{}, nil
	}
	have, err := c.stands(ctx, a)
	if err != nil {
		return standing{}, err
	}
	made, err := c.wants(ctx, a.ID, newest.Generation)
	if err != nil {
		return standing{}, err
	}
	wanted, err := c.expect(ctx, a.ID, tried.Generation)
	if err != nil {
		return standing{}, err
	}
	is := made.serial
	if newest.State == "succeeded" {
		// What the newest run brought out is there, and it is what the commit wants, or what the one that failed went back to.
		back := newest.Kind == "rollback" && f.serial == wanted && c.lost(tried) || kept
		if have != is || !f.broken && have != f.serial && !back {
			c.violated("%s in %s is %q in the end, want %q (generation %d is a %s of %q, tried was %q)", f.name, c.Guided, have, f.serial, newest.Generation, newest.Kind, is, wanted)
		}
		c.Numbers["guided applications that went back"] += map[bool]int{true: 1}[back]
		return c.standing(a, made), nil
	}
	c.Numbers["guided applications left as they were"]++
	if newest.State == "failed" && a.Applied > 0 {
		c.violated("%s in %s: generation %d failed, and nothing went back", f.name, c.Guided, newest.Generation)
	}
	left, err := c.left(ctx, a)
	if err != nil {
		return standing{}, err
	}
	asked := f.broken || f.serial == is
	if newest.Kind == "rollback" { // no commit asks for what it was to bring out, and there was a reason for it
		asked = kept || c.lost(tried) && (f.broken || f.serial == wanted)
	}
	if !asked || !slices.ContainsFunc(left, func(l scoreFile) bool { return l.serial == have }) {
		c.violated("%s in %s is %q in the end, want one of %+v; generation %d is %s", f.name, c.Guided, have, left, newest.Generation, newest.State)
	}
	return c.standing(a, left...), nil
}

// left returns what an application may be whose newest runs failed without a way back, or were cancelled: what it was before
// them, or what one of them brought out before it ended.
func (c *checker) left(ctx context.Context, a applicationRow) (list []scoreFile, err error) {
	if a.Applied == 0 {
		list = append(list, scoreFile{})
	}
	for _, r := range c.history.after(a.ID, a.Applied-1) {
		f, err := c.wants(ctx, a.ID, r.Generation)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// newest returns the newest run of an application, and the newest that a commit asked for.
func (h *history) newest(application int64) (newest, tried runRow) {
	for _, r := range h.runs { // by generation
		if r.Application == application {
			newest = r
			if r.Kind == "deploy" {
				tried = r
			}
		}
	}
	return newest, tried
}
