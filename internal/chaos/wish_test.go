//go:build chaos

package chaos

import (
	"math/rand/v2"
	"slices"
	"time"
)

// online are the acts that go through the API.
var online = []string{"hold", "resume", "rollback", "confirm", "approve", "reject", "pause", "go on", "cancel"}

// patient are the acts that are tried again later if there is nothing to do.
var patient = append([]string{"unshare"}, online...)

// wish is what a person wanted to do, and nothing was there that bears it.
type wish struct {
	*author
	kind string
	r    *rand.Rand
}

// act does all acts in their order, each not before its time, and returns how long the last one was late. What a person could
// not do is tried again after each later act, unless another one could not do the same just then.
func (w *world) act(list []act) (late time.Duration) {
	var wishes []wish
	for i, a := range list {
		if wait := time.Until(w.began.Add(a.at)); wait > 0 {
			<-time.After(wait)
		}
		late = max(late, time.Since(w.began.Add(a.at)))
		author, r := w.authors[a.repository], rand.New(rand.NewPCG(a.seed, 1))
		if slices.Contains(patient, a.kind) {
			wishes = append(wishes, wish{author, a.kind, r})
		} else {
			author.perform(a.kind, i+1, r)
		}
		vain := map[string]bool{}
		wishes = slices.DeleteFunc(wishes, func(x wish) bool {
			if vain[x.kind] {
				return false
			}
			done := x.perform(x.kind, i+1, x.r)
			vain[x.kind] = !done
			return done
		})
	}
	return late
}

// perform does an act with a serial, notes what it was, and counts it if there was anything to do.
func (a *author) perform(kind string, serial int, r *rand.Rand) (done bool) {
	a.Helper()
	var told string
	if slices.Contains(online, kind) {
		told, done = a.person(kind, r)
	} else {
		told, done = a.do(kind, serial, r)
	}
	a.note("repository %d: %s %s", a.n, kind, told)
	if done {
		a.counts.add("act " + kind)
	}
	return done
}

const (
	// fulfilLimit bounds how long people go on after the last fault with what they could not do before.
	fulfilLimit = 2 * time.Minute
	// fulfilPace is how often they change something meanwhile, so that there is something to do it with.
	fulfilPace = 5 * time.Second
)

// fulfil has people do each kind of act of the schedule that nobody could do, reject until a run failed, cancel until one is
// cancelled, and share no more until what is shared went: on a slow machine nothing may have been there in time that bore it.
func (w *world) fulfil(plan schedule) {
	w.Helper()
	r := rand.New(rand.NewPCG(0, 3))
	serial, changed := len(plan.acts), time.Time{}
	for until := time.Now().Add(fulfilLimit); time.Now().Before(until); <-time.After(look) {
		lacking := w.lacking(plan)
		if len(lacking) == 0 {
			return
		}
		if onlyShared := slices.Equal(lacking, []string{"unshare"}); time.Since(changed) > fulfilPace {
			changed = time.Now()
			if serial++; onlyShared {
				w.free(serial)
			} else {
				lacking = append([]string{"atomic", "remove"}, lacking...)
			}
		}
		for _, kind := range lacking {
			serial++
			w.authors[serial%guidedRepositories].perform(kind, serial, r)
		}
	}
}

// free has people let go of what they hold, and change what failed and is held back: what is deployed of it may be what keeps there
// what nobody shares any more.
func (w *world) free(serial int) {
	w.Helper()
	w.release()
	var list []application
	if _, err := w.api("GET", "/applications", nil, &list); err != nil {
		return // the next turn asks again
	}
	held := map[string]bool{}
	for _, a := range list {
		held[a.Name] = held[a.Name] || a.Hold != nil
	}
	for _, a := range w.authors {
		a.git("checkout", "--quiet", "main")
		for _, folder := range a.names() {
			if o := a.now(folder, serial); held[o.name] {
				a.put(folder, o)
				a.push("change "+folder+", which is held back", false)
				a.note("repository %d: change %s, which is held back", a.n, o.name)
			}
		}
	}
}

// lacking returns the kinds of acts that are still to be done, some perhaps twice.
func (w *world) lacking(plan schedule) (list []string) {
	for _, a := range plan.acts {
		if !slices.Contains(list, a.kind) && w.counts.of("act "+a.kind) == 0 {
			list = append(list, a.kind)
		}
	}
	// One that came as the last ones went has kept it there.
	if w.turns() < 2 && !slices.Contains(list, "unshare") {
		list = append(list, "unshare")
	}
	for state, kind := range map[string]string{"failed": "reject", "cancelled": "cancel"} {
		if ended, err := w.guidedRuns(state); err != nil || len(ended) == 0 {
			list = append(list, kind)
		}
	}
	return list
}
