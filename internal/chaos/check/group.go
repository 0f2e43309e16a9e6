package check

// What is deployed all or none: runs with the same number. What became of one is told by what came next of its application.

// brokenOff says that a run is why the others of its group go back: it failed or was cancelled, or a person rolled it back, and
// no commit had taken its place.
func (h *history) brokenOff(r runRow) bool {
	newer := h.after(r.Application, r.Generation)
	ended := r.State == "failed" || r.State == "cancelled"
	switch {
	case len(newer) == 0:
		return ended
	case newer[0].Kind != "rollback":
		return false
	default:
		return ended || r.State == "superseded" && !h.takenBack(r, newer[0])
	}
}

// takenBack says that nobody but the product went back from a run: the rollback is told on the run's commit, and does not bring
// back a release of that commit itself.
func (h *history) takenBack(r, next runRow) bool {
	of := h.releases[key{next.Application, next.Generation}].Of
	return next.Kind == "rollback" && next.Commit == r.Commit && (of == nil || h.releases[key{r.Application, *of}].Commit != r.Commit)
}

// torn says that another run of a run's group was broken off.
func (h *history) torn(r runRow) bool {
	for _, other := range h.runs {
		if r.Together > 0 && other.ID != r.ID && other.Together == r.Together && h.brokenOff(other) {
			return true
		}
	}
	return false
}

// lost says that what a commit asked for did not come about, or was taken back.
func (c *checker) lost(r runRow) bool {
	return r.State == "failed" || r.State == "cancelled" || c.history.torn(r)
}

// keptBack says that what a file asks for was never tried, because it is deployed with an application whose newest run failed.
func (c *checker) keptBack(a applicationRow, f scoreFile) bool {
	for id, other := range c.history.applications {
		_, tried := c.history.newest(id)
		if f.suite != "" && id != a.ID && other.Repository == a.Repository && other.Environment == a.Environment && tried.Atomic == f.suite &&
			(tried.State == "failed" || tried.State == "cancelled") {
			return true
		}
	}
	return false
}

// checkGroups looks at what is deployed all or none: where one failed, none of the others stays; where none failed, none goes
// back; and what a newer commit changes meanwhile comes into the same group.
func (c *checker) checkGroups() {
	groups := map[int64]bool{}
	for _, r := range c.history.runs {
		if r.Together == 0 {
			continue
		}
		torn := c.history.torn(r)
		groups[r.Together] = groups[r.Together] || torn
		newer := c.history.after(r.Application, r.Generation)
		if len(newer) == 0 {
			if torn && r.State == "succeeded" {
				c.violated("%s in %s stays at generation %d of %.7s, and another one of its group failed", r.Name, r.Environment, r.Generation, r.Commit)
			}
			continue
		}
		c.checkNext(r, newer[0], torn)
	}
	for _, torn := range groups {
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
