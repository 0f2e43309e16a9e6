//go:build chaos

package chaos

import (
	"fmt"
	"slices"
	"testing"
)

// least are the numbers of the checker's of which a run of three minutes or more has some: without them it would prove nothing
// of what is said beside them.
var least = []struct{ number, why string }{
	{"deployment commits", "a generation is committed once and in order"},
	{"folder changes", "a folder has the generations in their order"},
	{"runs superseded", "the newest wins"},
	{"runs failed", "what fails goes back"},
	{"runs cancelled", "what is cancelled is undone"},
	{"office effects undone", "what did not succeed is undone in order"},
	{"groups", "what goes together comes out together"},
	{"groups of more than one", "all or none is of several"},
	{"renames", "nothing is left of an old name"},
	{"shared objects that came", "who shares finds what is shared"},
	{"shared objects that went", "the last one takes it away"},
	{"databases taken away", "data goes when somebody confirmed it"},
	{"statuses", "each run is told on its commit"},
	{"comments", "a pull request has one comment"},
}

// missing says what of the schedule nobody could do, and of which work there was too little to prove anything.
func (s schedule) missing(done, numbers map[string]int) (list []string) {
	var planned []string
	for _, a := range s.acts {
		planned = append(planned, "act "+a.kind)
	}
	for _, f := range slices.Concat(s.processes, s.surroundings) {
		planned = append(planned, "fault "+f.kind)
	}
	slices.Sort(planned)
	for _, what := range slices.Compact(planned) {
		if done[what] == 0 {
			list = append(list, fmt.Sprintf("%q is in the schedule and was never done", what))
		}
	}
	for _, l := range least {
		if numbers[l.number] == 0 {
			list = append(list, fmt.Sprintf("there are no %s: nothing proves that %s", l.number, l.why))
		}
	}
	return list
}

func TestTooLittleWorkIsToldByItsKind(t *testing.T) {
	for seed := range uint64(50) {
		plan, done, numbers := newSchedule(seed, defaultDuration), map[string]int{}, map[string]int{}
		for _, kind := range slices.Concat(acts, []string{"join", "leave", "unshare"}) {
			done["act "+kind] = 1
		}
		for _, kind := range slices.Concat(processStrikes, surroundingStrikes) {
			done["fault "+kind] = 1
		}
		for _, l := range least {
			numbers[l.number] = 1
		}
		if list := plan.missing(done, numbers); len(list) > 0 {
			t.Errorf("seed %d: %q", seed, list)
		}
		done["act cancel"], done["fault disk"], numbers["groups"] = 0, 0, 0
		want := []string{`"act cancel" is in the schedule and was never done`, `"fault disk" is in the schedule and was never done`,
			"there are no groups: nothing proves that what goes together comes out together"}
		if list := plan.missing(done, numbers); !slices.Equal(list, want) {
			t.Errorf("seed %d: %q", seed, list)
		}
	}
}

// Three minutes are enough for every kind of act and fault to be in the schedule, whatever the seed.
func TestEveryKindIsInEachSchedule(t *testing.T) {
	for seed := range uint64(500) {
		plan := newSchedule(seed, defaultDuration)
		var have []string
		for _, a := range plan.acts {
			have = append(have, a.kind)
		}
		for _, f := range slices.Concat(plan.processes, plan.surroundings) {
			have = append(have, f.kind)
		}
		for _, kind := range slices.Concat(acts, processStrikes, surroundingStrikes) {
			if !slices.Contains(have, kind) {
				t.Errorf("seed %d has no %s within %s", seed, kind, defaultDuration)
			}
		}
	}
}
