package planner

import "fmt"

// Summary counts changes: a part that appears or goes counts once, one that changes counts each value.
type Summary struct {
	Create  int `json:"create"`
	Update  int `json:"update"`
	Replace int `json:"replace"`
	Delete  int `json:"delete"`
	// Stateful counts the changes that lose data.
	Stateful int `json:"stateful"`
}

// Add returns the sum of both.
func (s Summary) Add(o Summary) Summary {
	return Summary{s.Create + o.Create, s.Update + o.Update, s.Replace + o.Replace, s.Delete + o.Delete, s.Stateful + o.Stateful}
}

// String returns the counts as "+1 ~2 -1", or "no changes".
func (s Summary) String() string {
	if s.Create+s.Update+s.Replace+s.Delete == 0 {
		return "no changes"
	}
	return fmt.Sprintf("+%d ~%d -%d", s.Create, s.Update+s.Replace, s.Delete)
}

func summarize(changes []Change) (s Summary) {
	count := func(a Action) {
		switch a {
		case Create:
			s.Create++
		case Update:
			s.Update++
		case Replace:
			s.Replace++
		case Delete:
			s.Delete++
		case None:
		}
	}
	for _, c := range changes {
		if c.Stateful {
			s.Stateful++
		}
		if c.Action != Update {
			count(c.Action)
			continue
		}
		for _, f := range c.Fields {
			count(f.Action)
		}
	}
	return s
}
