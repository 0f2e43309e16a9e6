package score

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// rules looks at what the schema cannot say. The tree need not be valid: it looks as far as it can.
func (v *validator) rules(root *Node) {
	waits := map[string][]Entry{}
	for _, c := range root.Get("containers").sorted() {
		if before := c.Value.Get("before").sorted(); before != nil {
			waits[c.Key] = before
		}
		v.mounts(c)
	}
	v.before(root.Get("containers").keys(), waits)
	v.numbers(root)
	v.resourceCycle(root, v.placeholders(root))
}

// before looks at which container waits for which.
func (v *validator) before(names []string, waits map[string][]Entry) {
	if len(waits) == 0 {
		return
	}
	next := map[string][]string{}
	for _, name := range names {
		for _, b := range waits[name] {
			found := has(names, b.Key)
			switch {
			case b.Key == name:
				v.fail(fault.ScoreBeforeCycle, b.Place, "the container %s waits for itself", clip(name))
			case found:
				next[name] = append(next[name], b.Key)
			default:
				v.fail(fault.ScoreBefore, b.Place, "the container %s waits for %q, which is no container of the workload", clip(name), clip(b.Key)).
					Suggest(v.nearest(b.Key, names))
			}
		}
	}
	for _, circle := range circles(names, next) {
		i := slices.IndexFunc(waits[circle[0]], func(e Entry) bool { return e.Key == circle[1] })
		v.fail(fault.ScoreBeforeCycle, waits[circle[0]][i].Place, "containers wait for each other: %s", chain(circle))
	}
}

// chain writes a circle for a message.
func chain(circle []string) string {
	const most = 12 // names; the message is one line
	if len(circle) > most {
		circle = slices.Concat(circle[:most-1], []string{"…"}, circle[len(circle)-1:])
	}
	return strings.Join(circle, " → ")
}

// mount is a file or a volume of a container, by its target.
type mount struct {
	Entry
	kind string
}

// mounts looks at the targets and contents of a container's files and volumes, in the order in which they are written.
func (v *validator) mounts(c Entry) {
	seen := map[string]fault.Place{}
	for _, m := range v.written(c.Value) {
		if m.Value.Kind != Map {
			continue
		}
		if m.Key == "" {
			v.fail(fault.ScoreTarget, m.Place, "a %s of the container %s has no target", m.kind, clip(c.Key))
			continue
		}
		target := path.Clean(m.Key)
		if first, found := seen[target]; found {
			v.fail(fault.ScoreTarget, m.Place, "the %s target %q of the container %s is taken %s already",
				m.kind, clip(m.Key), clip(c.Key), where(first, m.Place))
		} else {
			seen[target] = m.Place
		}
		if b := m.Value.Get("binaryContent"); b != nil && b.Kind == String && !isBase64(b.Text) {
			v.fail(fault.ScoreBase64, b.Place, "the binaryContent of %s is not base64", clip(m.Key))
		}
	}
}

// written returns a container's files and volumes in the order of their places, those of overrides last.
func (v *validator) written(container *Node) []mount {
	var out []mount
	for _, kind := range []string{"files", "volumes"} {
		for _, e := range mounts(container.Get(kind)) {
			out = append(out, mount{e, strings.TrimSuffix(kind, "s")})
		}
	}
	file := func(m mount) int {
		return slices.IndexFunc(v.sources, func(s *source) bool { return s.name == m.Place.File })
	}
	slices.SortStableFunc(out, func(a, b mount) int {
		return cmp.Or(file(a)-file(b), a.Place.Line-b.Place.Line, a.Place.Column-b.Place.Column)
	})
	return out
}

// where says in which line something is, and of which file if it is another one.
func where(p, from fault.Place) string {
	if p.File != from.File {
		return fmt.Sprintf("in %s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("in line %d", p.Line)
}

func (v *validator) numbers(root *Node) {
	walk(root, func(n *Node) {
		if !finite(n) {
			v.fail(fault.ScoreNumber, n.Place, "JSON does not have the number %s", n.Text)
		}
	})
}

// placeholders looks at each placeholder: is it well-formed, and is there what it points at? It returns those in params
// that point at resources.
func (v *validator) placeholders(root *Node) map[string][]Reference {
	edges := map[string][]Reference{}
	names := root.Get("resources").keys()
	count := 0
	for s := range slots(root) {
		if strings.IndexByte(s.node.Text, '$') < 0 {
			continue
		}
		v.unclosed(s.node)
		for r := range s.references(v.sources) {
			if count++; count > maxReferences {
				v.add(tooMany(r.At))
				return edges
			}
			v.placeholder(root, r, names)
			if r.Use == InParams && r.Resource() != "" {
				edges[r.Owner] = append(edges[r.Owner], r)
			}
		}
	}
	return edges
}

func tooMany(at fault.Place) *fault.Fault {
	return fault.New(fault.ScoreLimit, "there are more than %d placeholders", maxReferences).At(at)
}

func (v *validator) placeholder(root *Node, r Reference, names []string) {
	switch {
	case slices.Contains(r.Path, "") || strings.ContainsAny(r.Raw, " \t\n"):
		v.malformed(r)
	case r.Path[0] == "metadata":
		v.metadata(root, r)
	case r.Path[0] == "resources":
		v.resource(r, names)
	case r.Path[0] == "environment":
		v.fail(fault.ScoreDialectEnvironment, r.At, "${%s}: a workload does not know its environment", clip(r.Raw))
	default:
		v.fail(fault.ScorePlaceholder, r.At, "${%s} begins with neither metadata nor resources", clip(r.Raw)).
			Suggest(v.nearest(r.Path[0], []string{"metadata", "resources"}))
	}
}

// unclosed warns of a ${ that nothing closes, if it looks like a placeholder.
func (v *validator) unclosed(n *Node) {
	from := strings.LastIndexByte(n.Text, '}') + 1
	for _, root := range []string{"${resources.", "${metadata."} {
		i := strings.Index(n.Text[from:], root)
		if i >= 0 && !strings.HasSuffix(n.Text[:from+i], "$") {
			at := n.Place
			if src := v.source(at.File); src != nil {
				at = src.locator(at, n.Text).find(from + i)
			}
			v.warn(fault.ScoreUnclosed, at, "the placeholder is not closed and stays as it is")
		}
	}
}

func (v *validator) malformed(r Reference) {
	f := v.fail(fault.ScorePlaceholder, r.At, "${%s} is not a path of keys", clip(r.Raw))
	if plain := strings.TrimSpace(r.Raw); plain != r.Raw && plain != "" && !strings.ContainsAny(plain, " \t\n") {
		f.Do("Write it without spaces: ${%s}.", plain)
	}
}

func (v *validator) metadata(root *Node, r Reference) {
	if len(r.Path) == 1 {
		v.fail(fault.ScorePlaceholder, r.At, "${metadata} names no key").Do("Add one: ${metadata.name}.")
		return
	}
	n := root.Get("metadata")
	for i, key := range r.Path[1:] {
		below := n.Get(key)
		if below == nil {
			v.fail(fault.ScoreReference, r.At, "${%s}: there is no %q in %s", clip(r.Raw), clip(key), clip(strings.Join(r.Path[:i+1], "."))).
				Suggest(v.nearestKey(key, n))
			return
		}
		n = below
	}
}

func (v *validator) resource(r Reference, names []string) {
	declared := len(r.Path) > 1 && has(names, r.Path[1])
	switch {
	case len(r.Path) == 1:
		v.fail(fault.ScorePlaceholder, r.At, "${resources} names no resource")
	case !declared:
		f := v.fail(fault.ScoreReference, r.At, "${%s}: the workload has no resource %q", clip(r.Raw), clip(r.Path[1])).
			Suggest(v.nearest(r.Path[1], names))
		if len(names) == 0 {
			f.Do("Declare it in resources.")
		} else {
			f.Do("Declare it in resources, or use one of %s.", listed(names))
		}
	case len(r.Path) == 2 && (r.Use != InVolume || !r.Whole):
		v.fail(fault.ScorePlaceholder, r.At, "${%s} names no output", clip(r.Raw)).
			Do("Add one: ${%s.output}. Only the source of a volume may be a whole resource.", clip(r.Raw))
	}
	if len(r.Path) > 3 && r.Path[2] == "outputs" {
		v.fail(fault.ScoreDialectOutputs, r.At, "${%s}: Score has no outputs in the path", clip(r.Raw)).
			Do("Write ${%s}.", strings.Replace(clip(r.Raw), ".outputs.", ".", 1))
	}
}

// has says whether a sorted list has a name.
func has(names []string, name string) bool {
	_, found := slices.BinarySearch(names, name)
	return found
}

// listed writes names for a message.
func listed(names []string) string {
	const most = 12 // names; the message is one line
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

func (v *validator) resourceCycle(root *Node, edges map[string][]Reference) {
	if len(edges) == 0 {
		return
	}
	next := make(map[string][]string, len(edges))
	for name, refs := range edges {
		next[name] = targets(refs)
	}
	for _, circle := range circles(root.Get("resources").keys(), next) {
		i := slices.IndexFunc(edges[circle[0]], func(r Reference) bool { return r.Resource() == circle[1] })
		v.fail(fault.ScoreResourceCycle, edges[circle[0]][i].At, "resources need each other: %s", chain(circle))
	}
}

// targets returns the names of the resources that references point at, sorted, each once.
func targets(refs []Reference) []string {
	var out []string
	for _, r := range refs {
		out = append(out, r.Resource())
	}
	slices.Sort(out)
	return slices.Compact(out)
}
