//go:build chaos

package chaos

import (
	"fmt"
	"math/rand/v2"
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

// unshare has all who share, in whatever repository, share no more. Where nobody does, one begins to, for the next time.
func (a *author) unshare(serial int, r *rand.Rand) (told string, done bool) {
	a.Helper()
	var gone []string
	for _, b := range a.authors {
		b.git("checkout", "--quiet", "main")
		before := len(gone)
		for _, folder := range b.names() {
			if o := b.now(folder, serial); o.shared {
				o.shared = false
				b.put(folder, o)
				gone = append(gone, folder)
			}
		}
		if len(gone) > before {
			b.push(fmt.Sprintf("unshare %v", gone[before:]), false)
		}
	}
	if len(gone) == 0 {
		return "nobody did; now " + a.share(serial, r), false
	}
	return fmt.Sprint(gone), true
}
