//go:build chaos

package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	// repositories and files are what there is at the beginning: each file is an application in each of two environments,
	// 200 in all.
	repositories, files = 10, 10
	servers             = 3
	// guidedRepositories, the first ones, deploy into a third environment as well, with a golden path: 30 applications more.
	guidedRepositories = 3
	// pace is the mean time between two acts of people: what two cores take without piling up.
	pace = 1800 * time.Millisecond
)

// act is something that a person does, in a repository, with a source of choices of its own: what is done before does not
// change what is chosen later.
type act struct {
	at         time.Duration
	kind       string
	repository int
	seed       uint64
}

// strike is a fault: it begins at a time and is lifted after another.
type strike struct {
	at, length time.Duration
	kind       string
	// server is whom it hits, where it hits one.
	server int
	// size is how hard, where that varies: 0 to 1.
	size float64
}

// schedule is all that a seed decides.
type schedule struct {
	acts []act
	// Strikes are two tracks: what happens to processes, and what happens around them; of each, one at a time.
	processes, surroundings []strike
}

// acts are what is done, each as often as it comes here before anything comes again: within two minutes.
var acts = slices.Concat(
	slices.Repeat([]string{"change"}, 14), slices.Repeat([]string{"atomic", "approve"}, 5), slices.Repeat([]string{"add", "revert", "open", "merge", "share"}, 4),
	slices.Repeat([]string{"remove", "break", "force", "confirm", "rename"}, 3), slices.Repeat([]string{"amend", "hold", "resume", "rollback", "reject", "pause", "go on", "cancel"}, 2),
	[]string{"close"},
)

// guidedActs are done to runs along the golden path, of whatever repository.
var guidedActs = []string{"approve", "reject", "pause", "go on", "cancel"}

// Kinds of faults. All of a track come once before any comes again, as with acts.
var (
	processStrikes     = []string{"kill", "stop", "disk", "kill", "stop"}
	surroundingStrikes = []string{
		"database slow", "database cut", "database silent", "database reset", "database restart", "database crash", "failover",
		"clock forward", "clock back", "gitea slow", "gitea cut", "gitea silent", "gitea reset",
		"office slow", "office cut", "office silent",
	}
)

func newSchedule(seed uint64, duration time.Duration) schedule {
	r := rand.New(rand.NewPCG(seed, 0))
	return schedule{
		acts:         newActs(r, duration),
		processes:    newStrikes(r, duration, processStrikes),
		surroundings: newStrikes(r, duration, surroundingStrikes),
	}
}

func newActs(r *rand.Rand, duration time.Duration) (list []act) {
	next, shares := draw(r, acts), 0
	for at := time.Duration(0); at < duration; at += between(r, pace/2, pace*3/2) {
		kind := next()
		// Where most can go wrong, people are three times as busy.
		repository := r.IntN(repositories + 2*guidedRepositories)
		if repository >= repositories || kind == "atomic" {
			repository %= guidedRepositories
		}
		list = append(list, act{at, kind, repository, r.Uint64()})
		if kind == "atomic" {
			// While they are under way, more often than not.
			list = append(list, act{at + between(r, 2*time.Second, 8*time.Second), []string{"join", "leave"}[r.IntN(2)], repository, r.Uint64()})
		}
		if kind == "rename" {
			// While a change of the same application is under way: what is on its way to the old name must not arrive.
			list = append(list, act{max(0, at-between(r, 500*time.Millisecond, 3*time.Second)), "change", repository, r.Uint64()})
		}
		if kind == "share" {
			// The last ones go when the first one has been there for a while; the next one stays; the one after comes as they go.
			away := []time.Duration{between(r, 6*time.Second, 14*time.Second), duration, -between(r, 0, 2*time.Second)}[shares%3]
			if shares++; away < duration {
				list = append(list, act{max(0, at+away), "unshare", repository, r.Uint64()})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b act) int { return cmp.Compare(a.at, b.at) })
	return list
}

func newStrikes(r *rand.Rand, duration time.Duration, kinds []string) (list []strike) {
	next := draw(r, kinds)
	for at := between(r, time.Second, 5*time.Second); ; {
		s := strike{at: at, length: between(r, 2*time.Second, 9*time.Second), kind: next(), server: r.IntN(servers), size: r.Float64()}
		if s.at+s.length > duration {
			return list
		}
		list = append(list, s)
		at += s.length + between(r, time.Second, 4*time.Second)
	}
}

// draw returns what draws kinds without putting them back, until none is left.
func draw(r *rand.Rand, kinds []string) func() string {
	var bag []string
	return func() (kind string) {
		if len(bag) == 0 {
			bag = slices.Clone(kinds)
			r.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		kind, bag = bag[0], bag[1:]
		return kind
	}
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// String tells the schedule, one line for each thing.
func (s schedule) String() string {
	var b strings.Builder
	for _, a := range s.acts {
		fmt.Fprintf(&b, "%8.3f  person  %-8s repository %d, choice %016x\n", a.at.Seconds(), a.kind, a.repository, a.seed)
	}
	for track, list := range map[string][]strike{"process": s.processes, "around": s.surroundings} {
		for _, f := range list {
			fmt.Fprintf(&b, "%8.3f  %-7s %s for %.3f s, server %d, size %.2f\n", f.at.Seconds(), track, f.kind, f.length.Seconds(), f.server, f.size)
		}
	}
	lines := strings.SplitAfter(b.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}
