package model

import (
	"strings"
	"testing"
)

// branch and folder are the guards of the two kinds of targets.
var (
	branch = guards{beginFence: true, alive: true, swap: true, finishFence: true, move: true}
	folder = guards{folder: true, beginFence: true, alive: true, finishFence: true, lock: true, targetFence: true}
)

// In every interleaving the target ends with the newest generation, no generation is written after a newer one, no
// committed job is lost, no run ends twice, and it ends.
func TestPromisesHoldInEveryInterleaving(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]guards{"branch": branch, "folder": folder} {
		f := explore(state{}, g.steps, promises)
		t.Logf("%s: %d states", name, f.states)
		if f.why != "" {
			t.Errorf("%s: %s:\n%s", name, f.why, strings.Join(f.trace, "\n"))
		}
		if f.states < 10_000 {
			t.Errorf("%s: only %d states: the model cannot do much", name, f.states)
		}
	}
}

// Without any one of the guards a promise is broken.
func TestEachGuardIsNeeded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		guards guards
		take   func(*guards)
	}{
		"the fence of the run at its begin":                       {branch, func(g *guards) { g.beginFence = false }},
		"the question right before the push":                      {branch, func(g *guards) { g.alive = false }},
		"the compare-and-swap of the push":                        {branch, func(g *guards) { g.swap = false }},
		"the fence of the end":                                    {branch, func(g *guards) { g.finishFence = false }},
		"the move of the branch after a run that did not succeed": {branch, func(g *guards) { g.move = false }},
		"the lock of the folder":                                  {folder, func(g *guards) { g.lock = false }},
		"the fence of the folder and the question":                {folder, func(g *guards) { g.targetFence, g.alive = false, false }},
	} {
		g := c.guards
		c.take(&g)
		f := explore(state{}, g.steps, promises)
		if f.why == "" {
			t.Errorf("without %s all promises hold, in %d states", name, f.states)
			continue
		}
		t.Logf("without %s: %s:\n  %s", name, f.why, strings.Join(f.trace, "\n  "))
	}
}
