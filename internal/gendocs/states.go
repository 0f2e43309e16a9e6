package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/queue"
)

// statesPage draws the tables of states. Tests see to it that the rows of the database go these ways, and no others.
func statesPage() string {
	var b strings.Builder
	b.WriteString(generated + "# States\n\nTests watch the rows of the database: they go these ways and no others, and each of them. (Only steps that\nthe version before this one left are begun again after they had ended.)\n")
	draw(&b, "Jobs", "A job of the queue. What has ended moves to the history and never changes again; a retry by hand is a new job.",
		words(queue.Transitions(), queue.State.String), []string{"blocked", "ready"})
	draw(&b, "Runs", "One execution of a release. A run that waits for people or for its next attempt is running, and holds no worker.",
		words(apply.Transitions(), func(s apply.State) string { return string(s) }), []string{"queued"})
	draw(&b, "Steps", "A node of a run's graph. A parked one waits for a time, for its next attempt, or for people.",
		words(graph.Transitions(), func(s graph.State) string { return string(s) }), []string{"waiting"})
	return b.String()
}

// words names the states of a table.
func words[S comparable](transitions map[S][]S, name func(S) string) map[string][]string {
	out := map[string][]string{}
	for from, all := range transitions {
		for _, to := range all {
			out[name(from)] = append(out[name(from)], name(to))
		}
	}
	return out
}

func draw(b *strings.Builder, title, about string, transitions map[string][]string, first []string) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n```mermaid\nstateDiagram-v2\n", title, about)
	for _, state := range first {
		fmt.Fprintf(b, "  [*] --> %s\n", state)
	}
	ends := map[string]bool{}
	for _, from := range slices.Sorted(maps.Keys(transitions)) {
		for _, to := range slices.Sorted(slices.Values(transitions[from])) {
			fmt.Fprintf(b, "  %s --> %s\n", from, to)
			ends[to] = ends[to] || len(transitions[to]) == 0
		}
	}
	for _, state := range slices.Sorted(maps.Keys(ends)) {
		if ends[state] {
			fmt.Fprintf(b, "  %s --> [*]\n", state)
		}
	}
	b.WriteString("```\n")
}
