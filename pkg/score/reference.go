package score

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Use says where a placeholder stands.
type Use uint8

// The places in which placeholders are expanded.
const (
	InVariable Use = iota
	InFile
	InVolume
	InParams
)

// Reference is a placeholder of a workload.
type Reference struct {
	// Path is what stands between ${ and }, cut at the dots: resources, name, output… or metadata, key….
	Path []string
	// Raw is the same as it is written.
	Raw string
	Use Use
	// Owner is the container that uses it, or the resource whose params do.
	Owner string
	// Whole says that the placeholder is the whole string, so that a value need not be text.
	Whole bool
	At    fault.Place // of the $
}

// Resource returns the name of the resource that the reference points at, or "".
func (r Reference) Resource() string {
	if len(r.Path) > 1 && r.Path[0] == "resources" {
		return r.Path[1]
	}
	return ""
}

// Output returns the path inside the resource's outputs; empty when the resource as a whole is meant.
func (r Reference) Output() []string {
	if r.Resource() == "" {
		return nil
	}
	return r.Path[2:]
}

// slot is a string in which placeholders are expanded.
type slot struct {
	node  *Node
	use   Use
	owner string
}

// slots returns all strings of a tree in which placeholders are expanded; the tree need not be valid. Keys of the
// other dialect count as what they stand for.
func slots(root *Node) iter.Seq[slot] {
	return func(yield func(slot) bool) {
		more := true
		send := func(n *Node, use Use, owner string) {
			if more && n != nil && n.Kind == String {
				more = yield(slot{n, use, owner})
			}
		}
		for _, c := range root.Get("containers").sorted() {
			for _, key := range []string{"variables", "env"} {
				for _, v := range c.Value.Get(key).sorted() {
					send(v.Value, InVariable, c.Key)
				}
			}
			if env := c.Value.Get("env"); env != nil {
				for _, item := range env.Items {
					send(item.Get("value"), InVariable, c.Key)
				}
			}
			for _, f := range mounts(c.Value.Get("files")) {
				if !f.Value.Get("noExpand").isTrue() {
					send(f.Value.Get("content"), InFile, c.Key)
				}
			}
			for _, v := range mounts(c.Value.Get("volumes")) {
				send(v.Value.Get("source"), InVolume, c.Key)
			}
		}
		for _, r := range root.Get("resources").sorted() {
			for _, key := range []string{"params", "properties"} {
				walk(r.Value.Get(key), func(n *Node) { send(n, InParams, r.Key) })
			}
		}
	}
}

// walk visits a value and all below it, maps by key.
func walk(n *Node, visit func(*Node)) {
	if n == nil {
		return
	}
	visit(n)
	for _, e := range n.sorted() {
		walk(e.Value, visit)
	}
	for _, item := range n.Items {
		walk(item, visit)
	}
}

// references yields all placeholders of a tree, well-formed or not.
func references(root *Node, sources []*source) iter.Seq[Reference] {
	return func(yield func(Reference) bool) {
		for s := range slots(root) {
			if strings.IndexByte(s.node.Text, '$') < 0 {
				continue
			}
			for r := range s.references(sources) {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// references yields the placeholders of one string.
func (s slot) references(sources []*source) iter.Seq[Reference] {
	return func(yield func(Reference) bool) {
		var places *locator
		if src := sourceOf(sources, s.node.Place.File); src != nil {
			places = src.locator(s.node.Place, s.node.Text)
		}
		for p := range parts(s.node.Text) {
			if p.Path == nil {
				continue
			}
			r := Reference{Path: p.Path, Raw: p.Raw, Use: s.use, Owner: s.owner, At: s.node.Place}
			r.Whole = len(opening)+len(p.Raw)+len("}") == len(s.node.Text)
			if places != nil {
				r.At = places.find(p.Offset)
			}
			if !yield(r) {
				return
			}
		}
	}
}

// References yields all placeholders of the workload: containers by name, then resources by name.
func (w *Workload) References() iter.Seq[Reference] { return references(w.Root, w.sources) }

// Outputs tells which outputs the provisioner of a resource gives; known is false when it does not declare them.
type Outputs func(Resource) (names []string, known bool)

// CheckReferences looks at each ${resources.name.output} of the workload and tells about outputs that the resource's
// provisioner does not give.
func (w *Workload) CheckReferences(outputs Outputs) fault.List {
	r := &report{sources: w.sources}
	r.outputs(w, w.References(), outputs)
	return r.done()
}

// CheckFile looks at the placeholders of a file that a container names as a source and that is to be expanded. It
// returns them, with places in that file, and all that is wrong with them; outputs may be nil.
func (w *Workload) CheckFile(file Source, container string, outputs Outputs) ([]Reference, fault.List) {
	src := newSource(file)
	r := &report{sources: []*source{src}}
	if f := refuse(src); f != nil {
		r.add(f)
		return nil, r.done()
	}
	var refs []Reference
	v := &validator{report: r}
	names := w.Root.Get("resources").keys()
	for p := range parts(string(src.data)) {
		if p.Path == nil {
			continue
		}
		if len(refs) >= maxReferences {
			r.add(tooMany(src.at(p.Offset)))
			break
		}
		ref := Reference{Path: p.Path, Raw: p.Raw, Use: InFile, Owner: container, At: src.at(p.Offset)}
		refs = append(refs, ref)
		v.placeholder(w.Root, ref, names)
	}
	if outputs != nil {
		r.outputs(w, slices.Values(refs), outputs)
	}
	return refs, r.done()
}

// outputs looks at references whose resource is declared.
func (r *report) outputs(w *Workload, refs iter.Seq[Reference], outputs Outputs) {
	known := map[string][]string{}
	for ref := range refs {
		res, ok := w.Resource(ref.Resource())
		if !ok || len(ref.Output()) == 0 {
			continue
		}
		names, seen := known[res.Name]
		if !seen {
			if list, declared := outputs(res); declared {
				names = append(make([]string, 0, len(list)), list...)
				slices.Sort(names)
			}
			known[res.Name] = names
		}
		if output := ref.Output()[0]; names != nil && !slices.Contains(names, output) {
			r.add(noOutput(ref, res, output, names))
		}
	}
}

func noOutput(ref Reference, res Resource, output string, names []string) *fault.Fault {
	f := fault.New(fault.ScoreOutput, "${%s}: the resource %s of type %s has no output %q", clip(ref.Raw), res.Name, describe(res), clip(output)).
		At(ref.At).Suggest(fault.Nearest(output, names))
	if len(names) == 0 {
		return f.Do("Resources of this type have no outputs.")
	}
	return f.Do("Its outputs are %s.", strings.Join(names, ", "))
}

// describe names type and class of a resource.
func describe(r Resource) string {
	if r.Class == "default" {
		return r.Type
	}
	return fmt.Sprintf("%s (class %s)", r.Type, r.Class)
}
