package fault

import (
	"maps"
	"slices"
	"strings"
)

// Code names a kind of fault. It never changes its meaning and is never used again for another.
type Code string

// Entry is what the catalogue says about a code. docs/errors.md is generated from it.
type Entry struct {
	// Title is a few words, as a heading.
	Title string
	Class Class
	// Why explains in one or two sentences how one gets here.
	Why string
	// Remedy says what to do; a fault may carry a more exact one.
	Remedy string
}

// docs is where the catalogue is published; each code has an anchor there.
const docs = "https://github.com/innominatus/reconciler/blob/main/docs/errors.md"

// Link returns the address of the code's page.
func (c Code) Link() string { return docs + "#" + strings.ToLower(string(c)) }

// Entry returns what the catalogue says about the code.
func (c Code) Entry() Entry {
	for _, part := range catalogues {
		if e, ok := part[c]; ok {
			return e
		}
	}
	return Entry{Title: "Unknown code", Class: Permanent, Remedy: "Report this as a bug: the code is not in the catalogue."}
}

// Codes returns all codes of the catalogue in order.
func Codes() []Code {
	var all []Code
	for _, part := range catalogues {
		all = slices.AppendSeq(all, maps.Keys(part))
	}
	slices.Sort(all)
	return all
}

// catalogues holds one table per thousand; each stands in a file of its own, catalogue_<subject>.go.
var catalogues = []map[Code]Entry{score, git, platform, plan, run, applying, telling, access, machine}
