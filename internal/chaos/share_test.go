//go:build chaos

package chaos

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
)

// rename gives an application another name in its place: what was changed last, if that is still there. Every third time it is
// the name that it had at first.
func (a *author) rename(serial int, r *rand.Rand) string {
	a.Helper()
	names := a.names()
	folder := names[r.IntN(len(names))]
	for _, name := range names {
		if name == a.touched {
			folder = name
		}
	}
	o := a.now(folder, serial)
	was := o.name
	if o.name = folder; was == folder || r.IntN(3) > 0 {
		// Its end says still whether it has a database, and whether its questions are answered.
		o.name = strings.Replace(folder, "-", fmt.Sprintf("-x%d-", serial), 1)
	}
	a.put(folder, o)
	a.push(fmt.Sprintf("rename %s to %s", was, o.name), false)
	return was + " to " + o.name
}

// share has one application more use what several share.
func (a *author) share(serial int, r *rand.Rand) string {
	a.Helper()
	names := a.names()
	folder := names[r.IntN(len(names))]
	o := a.now(folder, serial)
	o.shared = true
	a.put(folder, o)
	a.push("share "+folder, false)
	return folder
}

// turns returns how often what is shared came into the deployment repository and went: its content never changes.
func (w *world) turns() int {
	w.Helper()
	dir := w.path("deployment")
	w.git(dir, "fetch", "--quiet")
	n, err := strconv.Atoi(w.git(dir, "rev-list", "--count", "origin/main", "--", "environments/"+inGit+"/_shared"))
	w.must(err)
	return n
}

// offered says in how many of the two targets what is shared is.
func (w *world) offered() (n int) {
	w.Helper()
	found, err := filepath.Glob(w.path("target", "_shared", "*.yaml"))
	w.must(err)
	return min(1, len(found)) + w.turns()%2
}

// unshare has all who share, in whatever repository, share no more, when what they share is there. Where nobody shares, and nothing
// of what was shared is there any more, one begins to, for the next time.
func (a *author) unshare(serial int, r *rand.Rand) (told string, done bool) {
	a.Helper()
	offered := a.offered()
	there := offered == 2
	var all []string
	for _, b := range a.authors {
		if there {
			b.git("checkout", "--quiet", "main")
		}
		var list []string
		for _, folder := range b.names() {
			if o := b.now(folder, serial); o.shared {
				list = append(list, folder)
				if o.shared = false; there {
					b.put(folder, o)
				}
			}
		}
		if there && len(list) > 0 {
			b.push(fmt.Sprintf("unshare %v", list), false)
		}
		all = append(all, list...)
	}
	switch {
	case len(all) == 0 && offered > 0:
		return "nobody does, and it is on its way out", false
	case len(all) == 0:
		return "nobody did; now " + a.share(serial, r), false
	}
	return fmt.Sprint(all), there
}
