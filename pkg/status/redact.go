package status

import (
	"slices"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
)

// redacted returns an outcome without secrets in its texts. Rendering escapes and shortens, after which a secret is not
// known any more for what it is, although people can still read it: so they are taken out before.
func (o Outcome) redacted(redact func(string) string) Outcome {
	o.Application, o.Environment, o.Held, o.Asks = redact(o.Application), redact(o.Environment), redact(o.Held), redact(o.Asks)
	o.Faults = redactedFaults(o.Faults, redact)
	o.Waiting, o.Problem, o.NotUndone = redactedFault(o.Waiting, redact), redactedFault(o.Problem, redact), redactedFault(o.NotUndone, redact)
	if o.Plan != nil {
		p := *o.Plan
		p.Warnings = redactedFaults(p.Warnings, redact)
		p.Changes = slices.Clone(p.Changes)
		for i := range p.Changes {
			c := &p.Changes[i]
			c.Part, c.Detail, c.Fields = redact(c.Part), redact(c.Detail), redactedFields(c.Fields, redact)
		}
		p.Objects = slices.Clone(p.Objects)
		for i := range p.Objects {
			c := &p.Objects[i]
			c.Name, c.Fields = redact(c.Name), redactedFields(c.Fields, redact)
		}
		o.Plan = &p
	}
	return o
}

func redactedFields(fields []planner.Field, redact func(string) string) []planner.Field {
	fields = slices.Clone(fields)
	for i := range fields {
		f := &fields[i]
		f.Path, f.Before, f.After = redact(f.Path), redact(f.Before), redact(f.After)
	}
	return fields
}

func redactedFaults(list fault.List, redact func(string) string) fault.List {
	list = slices.Clone(list)
	for i := range list {
		list[i] = redactedFault(list[i], redact)
	}
	return list
}

func redactedFault(f *fault.Fault, redact func(string) string) *fault.Fault {
	if f == nil {
		return nil
	}
	clean := *f
	clean.Message, clean.Remedy, clean.Suggestion = redact(f.Message), redact(f.Remedy), redact(f.Suggestion)
	if clean.Excerpt = redact(f.Excerpt); clean.Excerpt != f.Excerpt {
		clean.Caret = 0 // It would point elsewhere.
	}
	return &clean
}
