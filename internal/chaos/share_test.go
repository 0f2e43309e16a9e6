//go:build chaos

package chaos

import (
	"fmt"
	"math/rand/v2"
	"path"
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

// sharers returns the folders of the applications that use what several share, on the main branch.
func (a *author) sharers() (list []string) {
	found, _ := tryGit(a.dir, "grep", "--name-only", "--fixed-strings", strings.TrimSpace(sharing), "main") // fails if there are none
	for line := range strings.Lines(found) {
		list = append(list, path.Dir(strings.TrimPrefix(strings.TrimSpace(line), "main:")))
	}
	return list
}

// unshare has all who share, in whatever repository, share no more, when what they share is there. Where nobody shares, one begins
// to, for the next time.
func (a *author) unshare(serial int, r *rand.Rand) (told string, done bool) {
	a.Helper()
	there := a.turns()%2 == 1
	var gone []string
	for _, b := range a.authors {
		list := b.sharers()
		gone = append(gone, list...)
		if !there || len(list) == 0 {
			continue
		}
		b.git("checkout", "--quiet", "main")
		for _, folder := range list {
			o := b.now(folder, serial)
			o.shared = false
			b.put(folder, o)
		}
		b.push(fmt.Sprintf("unshare %v", list), false)
	}
	if len(gone) == 0 {
		return "nobody did; now " + a.share(serial, r), false
	}
	return fmt.Sprint(gone), there
}
