package golden

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
)

// Set holds the golden paths of a platform by name.
type Set map[string]*Path

// idPattern fits ids of steps, params and outputs: names in CEL.
var idPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// about is what every expression knows of the run.
var about = names{
	"application": {name: "string"}, "environment": {name: "string"}, "repository": {name: "string"}, "commit": {name: "string"},
	"generation": {name: "integer"}, "plan.create": {name: "integer"}, "plan.update": {name: "integer"}, "plan.replace": {name: "integer"},
	"plan.delete": {name: "integer"}, "plan.stateful": {name: "integer"},
}

// response is what is known of the answer to a request.
var response = names{
	"response.status": {name: "integer"}, "response.headers": {name: "object", of: &kind{name: "string"}}, "response.body": anything,
}

// Load reads and checks the files of all golden paths, contents by name of the path; files gives the name of each one's
// file. Everything that is wrong is told with its place.
func Load(contents, files map[string]string) (Set, fault.List) {
	set := Set{}
	var faults fault.List
	checks := make([]*check, 0, len(contents))
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		p := &Path{Name: name}
		faults = append(faults, document.Decode(files[name], []byte(contents[name]), &p.file)...)
		set[name] = p
		checks = append(checks, &check{set: set, path: p, text: document.Read(files[name], []byte(contents[name]))})
	}
	for _, c := range checks {
		c.nothing()
		faults = append(faults, c.faults...)
	}
	if faults.Err() != nil {
		return nil, faults
	}
	for _, c := range checks {
		c.run()
		faults = append(faults, c.faults...)
	}
	return set, faults
}

// check checks one path.
type check struct {
	set    Set
	path   *Path
	text   document.Text
	faults fault.List
}

// bad notes a fault at the value that keys lead to.
func (c *check) bad(keys []string, format string, args ...any) *fault.Fault {
	f := c.text.Tell(fault.New(fault.ConfigValue, format, args...), keys...)
	c.faults = append(c.faults, f)
	return f
}

// expression notes what is wrong with one.
func (c *check) expression(keys []string, err error) {
	if err == nil {
		return
	}
	f, ok := fault.As(err)
	if !ok {
		f = fault.New(fault.PathExpression, "%w", err)
	}
	c.faults = append(c.faults, c.text.Tell(f, keys...))
}

// nothing refuses steps, params and outputs that are written and say nothing.
func (c *check) nothing() {
	for i, s := range c.path.Steps {
		at := []string{"steps", strconv.Itoa(i)}
		if s == nil {
			c.bad(at, "the step says nothing")
			continue
		}
		c.empty(append(at, "outputs"), s.Outputs)
	}
	for _, id := range slices.Sorted(maps.Keys(c.path.Params)) {
		if c.path.Params[id] == nil {
			c.bad([]string{"params", id}, "param %s has no type", id)
		}
	}
	c.empty([]string{"outputs"}, c.path.Outputs)
}

func (c *check) empty(at []string, outputs map[string]*Output) {
	for _, id := range slices.Sorted(maps.Keys(outputs)) {
		if outputs[id] == nil {
			c.bad(append(slices.Clone(at), id), "output %s has no type and value", id)
		}
	}
}

func (c *check) run() {
	p := c.path
	if !namePattern.MatchString(p.Name) || p.Name == Release {
		c.bad(nil, "path name %q (the file's name) must be at most 63 lower-case letters, digits and dashes, and not %q", p.Name, Release)
	}
	if len(p.Steps) == 0 || len(p.Steps) > StepLimit {
		c.bad([]string{"steps"}, "%d steps, want 1 to %d", len(p.Steps), StepLimit)
		return
	}
	params := names{}
	for _, id := range slices.Sorted(maps.Keys(p.Params)) {
		params["params."+id] = c.param(id, p.Params[id])
	}
	if !c.ids() || !c.order() {
		return
	}
	known := about.with(params)
	for i, s := range p.Steps {
		c.step([]string{"steps", strconv.Itoa(i)}, s, known.with(c.visible(s)))
	}
	all := known
	for _, s := range p.Steps {
		all = all.with(c.outputs(s))
	}
	c.values([]string{"outputs"}, p.Outputs, all)
	if depth := c.set.depth(p.Name, nil); depth > DepthLimit {
		c.bad([]string{"steps"}, "the paths that it uses go round in a circle or are more than %d below one another", DepthLimit)
	}
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ids checks the names of steps.
func (c *check) ids() bool {
	seen := map[string]bool{}
	for i, s := range c.path.Steps {
		at := []string{"steps", strconv.Itoa(i), "id"}
		switch {
		case !idPattern.MatchString(s.ID):
			c.bad(at, "id %q must begin with a lower-case letter and have at most 40 lower-case letters, digits and underscores", s.ID)
		case seen[s.ID]:
			c.bad(at, "there are two steps %s", s.ID)
		}
		seen[s.ID] = true
	}
	for i, s := range c.path.Steps {
		for n, need := range s.Needs {
			if !seen[need] {
				c.bad([]string{"steps", strconv.Itoa(i), "needs", strconv.Itoa(n)}, "there is no step %q", need).
					Suggest(fault.Nearest(need, slices.Sorted(maps.Keys(seen))))
			}
		}
	}
	return len(c.faults) == 0
}

// order refuses steps that need each other.
func (c *check) order() bool {
	for i, s := range c.path.Steps {
		if slices.Contains(c.path.before(s), s.ID) {
			c.bad([]string{"steps", strconv.Itoa(i), "needs"}, "step %s needs itself, by way of %s", s.ID, strings.Join(s.Needs, " or "))
			return false
		}
	}
	return true
}

// before returns the ids of the steps that a step needs, directly or not.
func (p *Path) before(s *Step) (list []string) {
	todo := slices.Clone(s.Needs)
	for len(todo) > 0 {
		id := todo[0]
		todo = todo[1:]
		if !slices.Contains(list, id) {
			list = append(list, id)
			todo = append(todo, p.Step(id).Needs...)
		}
	}
	return list
}

// visible are the outputs of the steps that come before a step.
func (c *check) visible(s *Step) names {
	out := names{}
	for _, id := range c.path.before(s) {
		out = out.with(c.outputs(c.path.Step(id)))
	}
	return out
}

// outputs are the names and kinds of what a step gives.
func (c *check) outputs(s *Step) names {
	out := names{}
	for id, k := range c.set.gives(s) {
		if s.ForEach != "" {
			k = listOf(k)
		}
		out["steps."+s.ID+"."+id] = k
	}
	return out
}

// gives returns the kinds of a step's own outputs.
func (set Set) gives(s *Step) names {
	out := names{}
	switch {
	case s.HTTP != nil:
		out["status"] = kind{name: "integer"}
		for id, o := range s.Outputs {
			out[id] = kind{name: o.Type}
		}
	case s.Approval != nil:
		out["by"] = listOf(kind{name: "string"})
	case s.IsRelease():
		out["writes"] = kind{name: "integer"}
	case set[s.Uses] != nil:
		for id, o := range set[s.Uses].Outputs {
			out[id] = kind{name: o.Type}
		}
	}
	for id, k := range out {
		if _, known := kinds[k.name]; !known {
			out[id] = anything // said where it is written
		}
	}
	return out
}

func (c *check) param(id string, p *Param) kind {
	at := []string{"params", id}
	if !idPattern.MatchString(id) {
		c.bad(at, "param %q must begin with a lower-case letter and have at most 40 lower-case letters, digits and underscores", id)
	}
	k := c.kind(append(at, "type"), p.Type)
	if p.Default != nil && k != anything {
		var err error
		if p.Default, err = k.fit(p.Default); err != nil {
			c.bad(append(at, "default"), "the default of %s: %w", id, err)
		}
	}
	return k
}

func (c *check) kind(at []string, name string) kind {
	if _, known := kinds[name]; !known {
		all := slices.Sorted(maps.Keys(kinds))
		c.bad(at, "there is no type %q", name).Suggest(fault.Nearest(name, all)).Do("Known here: %s.", strings.Join(all, ", "))
		return anything
	}
	return kind{name: name}
}

// values checks outputs and compiles them.
func (c *check) values(at []string, outputs map[string]*Output, known names) {
	for _, id := range slices.Sorted(maps.Keys(outputs)) {
		o, here := outputs[id], append(slices.Clone(at), id)
		if !idPattern.MatchString(id) {
			c.bad(here, "output %q must begin with a lower-case letter and have at most 40 lower-case letters, digits and underscores", id)
		}
		want := c.kind(append(here, "type"), o.Type)
		if o.Secret && o.Type != "string" {
			c.bad(append(here, "secret"), "output %s is secret and %s, want string: nothing else can be kept out of sight", id, o.Type)
		}
		e, err := known.compile(o.Value, want)
		c.expression(append(here, "value"), err)
		o.value = e
	}
}

// depth is how many paths a path uses below one another, itself included; more than the limit in a circle.
func (set Set) depth(name string, above []string) int {
	if set[name] == nil {
		return 0
	}
	if slices.Contains(above, name) {
		return DepthLimit + 1
	}
	deepest := 0
	for _, s := range set[name].Steps {
		deepest = max(deepest, set.depth(s.Uses, append(above, name)))
	}
	return deepest + 1
}

// Deploys says why a path cannot be the one of an environment, or nil: it must deploy the release once, in any case.
func (set Set) Deploys(name string) error {
	if set[name] == nil {
		return fault.New(fault.ConfigValue, "there is no path %q", name).Suggest(fault.Nearest(name, slices.Sorted(maps.Keys(set))))
	}
	count, certain := set.releases(name)
	switch {
	case count != 1:
		return fmt.Errorf("path %s deploys the release %d times, want once: one step with `uses: release`", name, count)
	case !certain:
		return fmt.Errorf("path %s deploys the release under when or for_each: it must be deployed in any case", name)
	default:
		return nil
	}
}

// releases counts the steps that deploy the release; certain says that nothing keeps them from it.
func (set Set) releases(name string) (count int, certain bool) {
	certain = true
	for _, s := range set[name].Steps {
		n := 0
		switch {
		case s.IsRelease():
			n = 1
		case set[s.Uses] != nil:
			var sure bool
			n, sure = set.releases(s.Uses)
			certain = certain && sure
		}
		if n > 0 && (s.When != "" || s.ForEach != "") {
			certain = false
		}
		count += n
	}
	return count, certain
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
