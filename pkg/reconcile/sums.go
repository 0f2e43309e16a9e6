package reconcile

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/status"
)

// proposed sums up what a pull request would do.
func proposed(outcomes []status.Outcome) (forge.State, string) {
	changes, failed := 0, 0
	var first *fault.Fault
	for _, o := range outcomes {
		if o.Changes() {
			changes++
		}
		if o.Failed() {
			failed++
			if first == nil {
				first = o.Faults.Errors()[0]
			}
		}
	}
	if failed > 0 {
		return forge.Failure, fmt.Sprintf("%d of %d invalid: %s", failed, len(outcomes), first)
	}
	return forge.Success, fmt.Sprintf("%d of %d applications change", changes, len(outcomes))
}

// deployed sums up what became of a commit.
func deployed(outcomes []status.Outcome) (forge.State, string) {
	counts := map[string]int{}
	var first, asked, left, kept string
	for _, o := range outcomes {
		if o.NotUndone != nil {
			counts["not undone"]++
			left = cmp.Or(left, o.Application+": "+o.NotUndone.Message)
		}
		switch {
		case o.Faults.Err() != nil:
			counts["invalid"]++
			first = o.Faults.Errors()[0].Error()
		case o.State == string(apply.Failed):
			counts["failed"]++
			if o.Problem != nil {
				first = o.Application + ": " + o.Problem.Error()
			}
		case o.KeptBack():
			counts["kept back"]++
			kept = cmp.Or(kept, o.Application+": "+o.Waiting.Message)
		case o.Waiting != nil:
			counts["waiting"]++
		case o.State == string(apply.Cancelled):
			counts["cancelled"]++
		case o.Held != "":
			counts["on hold"]++
		case o.Asks != "":
			counts["asking"]++
			asked = o.Application + ": " + o.Asks
		case o.State == string(apply.Queued) || o.State == string(apply.Running):
			counts["deploying"]++
		case o.Together():
			counts["taken back"]++
		case o.State == string(apply.Succeeded):
			counts["deployed"]++
		case o.State != "":
			counts[o.State]++
		}
	}
	var parts []string
	for _, what := range []string{"invalid", "failed", "not undone", "asking", "waiting", "on hold", "kept back", "deploying", "deployed", "taken back", "superseded", "cancelled"} {
		if counts[what] > 0 {
			parts = append(parts, strconv.Itoa(counts[what])+" "+what)
		}
	}
	text := strings.Join(parts, ", ")
	switch {
	case counts["invalid"]+counts["failed"] > 0:
		return forge.Failure, text + ": " + first
	case left != "":
		return forge.Failure, text + ": " + left
	case counts["asking"] > 0:
		return forge.Pending, text + ": " + asked
	case counts["waiting"] > 0 && kept == "":
		return forge.Pending, text + " for a confirmation"
	case counts["waiting"] > 0:
		return forge.Pending, text + ": " + kept
	case counts["deploying"] > 0:
		return forge.Pending, text
	case kept != "":
		return forge.Success, text + ": " + kept // the one that keeps it back says how bad that is
	case text == "":
		return forge.Success, fmt.Sprintf("0 of %d applications change", len(outcomes))
	default:
		return forge.Success, text
	}
}
