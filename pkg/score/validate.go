package score

import (
	"fmt"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// validator walks a tree along the rules of the schema.
type validator struct {
	*report
	// path are the keys from the root to the value that is looked at.
	path []string
}

// name returns the path of the value for messages.
func (v *validator) name() string {
	if len(v.path) == 0 {
		return "the workload"
	}
	if v.full() {
		return "" // nobody sees it
	}
	return clipEnd(strings.Join(v.path, "."))
}

// clipEnd keeps the end of a long path, which is nearer to the fault.
func clipEnd(path string) string {
	const longest = 120 // bytes; a message is one line
	if len(path) <= longest {
		return path
	}
	_, end, _ := strings.Cut(path[len(path)-longest:], ".")
	return "…." + end
}

func (v *validator) fail(code fault.Code, at fault.Place, format string, args ...any) *fault.Fault {
	f := fault.New(code, format, args...).At(at)
	v.add(f)
	return f
}

func (v *validator) warn(code fault.Code, at fault.Place, format string, args ...any) {
	v.add(fault.New(code, format, args...).At(at).Warn())
}

// below looks at a value under a key.
func (v *validator) below(r *rule, key string, n *Node) {
	v.path = append(v.path, clip(key))
	v.check(r, n)
	v.path = v.path[:len(v.path)-1]
}

func (v *validator) check(r *rule, n *Node) {
	if r.free {
		return
	}
	if r.list != nil && n.Kind == List {
		v.warn(fault.ScoreDeprecated, n.Place, "%s is written as a list, which is deprecated", v.name())
		r = r.list
	}
	switch {
	case r.is == Int:
		v.number(r, n)
	case n.Kind != r.is:
		v.wrongKind(r, n)
	case r.is == String:
		v.text(r, n)
	case r.is == List:
		for i, item := range n.Items {
			v.below(r.item, fmt.Sprint(i), item)
		}
	case r.is == Map:
		v.entries(r, n)
	}
}

func (v *validator) wrongKind(r *rule, n *Node) {
	f := v.fail(fault.ScoreType, n.Place, "%s must be %s and is %s", v.name(), r.is, n.Kind)
	switch {
	case r.is == String && n.isScalar() && n.Kind != Null:
		if src := v.source(n.Place.File); src != nil {
			f.Do("Write it in quotes: \"%s\".", src.raw(n.Place))
		}
	case n.Kind == Null && r.is == Map:
		f.Do("Leave the key out, or write {} for an empty map.")
	case n.Kind == Null && r.is == List:
		f.Do("Leave the key out, or write [] for an empty list.")
	case n.Kind == Null:
		f.Do("Give it a value or leave the key out.")
	case r.is == Bool && n.Kind == String:
		f.Do("Write true or false, without quotes.")
	}
}

func (v *validator) number(r *rule, n *Node) {
	i, whole := n.integer()
	switch {
	case n.Kind != Int && n.Kind != Float:
		f := v.fail(fault.ScoreType, n.Place, "%s must be a number and is %s", v.name(), n.Kind)
		if k, _ := resolvePlain(n.Text); n.Kind == String && k == Int {
			f.Do("Write it without quotes: %s.", n.Text)
		}
	case !whole:
		v.fail(fault.ScoreType, n.Place, "%s must be a whole number and is %s", v.name(), n.Text)
	case i < r.low || i > r.high:
		v.fail(fault.ScoreRange, n.Place, "%s is %s and must be from %d to %d", v.name(), n.Text, r.low, r.high)
	}
}

func (v *validator) text(r *rule, n *Node) {
	if r.text != nil && !r.text.ok(n.Text) {
		f := v.fail(fault.ScoreFormat, n.Place, "%s is %q and must be %s", v.name(), clip(n.Text), r.text.what)
		if r.text.example != "" {
			f.Do("For example: %s", r.text.example)
		}
	}
	if r.choice != nil && !slices.Contains(r.choice, n.Text) {
		v.fail(fault.ScoreChoice, n.Place, "%s is %q and must be one of %s", v.name(), clip(n.Text), strings.Join(r.choice, ", ")).
			Suggest(v.nearest(n.Text, r.choice)).
			Do("Write one of %s.", strings.Join(r.choice, ", "))
	}
}

func (v *validator) entries(r *rule, n *Node) {
	if r.filled && len(n.Entries) == 0 {
		v.fail(fault.ScoreEmpty, n.Place, "%s must have at least one entry", v.name())
	}
	var there uint32 // bit i is set when field i is there
	for i := range n.Entries {
		e := &n.Entries[i]
		if at := slices.IndexFunc(r.fields, func(f field) bool { return f.name == e.Key }); at >= 0 {
			there |= 1 << at
			v.below(r.fields[at].rule, e.Key, e.Value)
			continue
		}
		switch {
		case r.value != nil:
			if r.key != nil && !r.key.ok(e.Key) {
				v.fail(fault.ScoreName, e.Place, "the key %q of %s must be %s", clip(e.Key), v.name(), r.key.what).
					Do("For example: %s", r.key.example)
			}
			v.below(r.value, e.Key, e.Value)
		case !r.open:
			v.unknown(r, e)
		}
	}
	for i, f := range r.fields {
		if f.required && there&(1<<i) == 0 {
			v.fail(fault.ScoreMissing, n.Place, "%s has no %s", v.name(), f.name).
				Do("Add the key %s.", f.name)
		}
	}
	v.combination(r, n)
}

// combination looks at keys that exclude or need each other.
func (v *validator) combination(r *rule, n *Node) {
	count := func(keys []string) (found int) {
		for _, k := range keys {
			if n.entry(k) != nil {
				found++
			}
		}
		return found
	}
	if r.one != nil && count(r.one) != 1 {
		v.fail(fault.ScoreCombination, n.Place, "%s must have exactly one of %s", v.name(), strings.Join(r.one, ", "))
	}
	if r.some != nil && count(r.some) == 0 {
		v.fail(fault.ScoreCombination, n.Place, "%s must have at least one of %s", v.name(), strings.Join(r.some, ", "))
	}
}

// unknown tells about a key that the map does not have, and looks at its value as what was probably meant.
func (v *validator) unknown(r *rule, e *Entry) {
	if d, ok := r.dialect[e.Key]; ok {
		v.fail(d.code, e.Place, "%s has the key %s, which Score does not have", v.name(), e.Key).Suggest(d.instead).Do("%s", d.remedy)
		v.meant(r, d.instead, e)
		return
	}
	var known []string
	for _, f := range r.fields {
		known = append(known, f.name)
	}
	nearest := v.nearest(e.Key, known)
	v.fail(fault.ScoreUnknownKey, e.Place, "%s has the unknown key %q", v.name(), clip(e.Key)).Suggest(nearest).
		Do("Keys are %s.", strings.Join(known, ", "))
	v.meant(r, nearest, e)
}

// meant checks the value of an unknown key as that of a known one.
func (v *validator) meant(r *rule, key string, e *Entry) {
	for _, f := range r.fields {
		if f.name == key {
			v.below(f.rule, e.Key, e.Value)
		}
	}
}
