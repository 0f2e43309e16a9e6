package score

import (
	"github.com/innominatus/reconciler/pkg/fault"
)

// Load reads the workloads of a Score file and lays overrides over it, in order. It returns the workloads that are
// valid and every fault of all files, warnings too, in order of place. Documents that have a kind are not Score and
// left out.
//
// An override is one map without being a workload of its own: maps are merged, lists and scalars replaced, null removes
// a key. Overrides need a file with exactly one workload.
func Load(base Source, overrides ...Source) ([]*Workload, fault.List) {
	r := &report{}
	src := newSource(base)
	r.sources = append(r.sources, src)
	docs := r.scoreDocuments(src)
	if len(overrides) > 0 {
		docs = r.override(base.Name, docs, overrides)
	}
	var out []*Workload
	for i, doc := range docs {
		if doc != nil && r.valid(doc) && !r.broken[doc] {
			out = append(out, build(doc, i, r.sources))
		}
	}
	return out, r.done()
}

// Annotated returns the values that an annotation has in the documents of a file, valid or not: who wrote a file with a mistake
// meant the rest of it. Text that is no YAML has none.
func Annotated(src Source, name string) (values []string) {
	for _, doc := range (&report{}).documents(newSource(src)) {
		if v := doc.Lookup("metadata", "annotations", name); v != nil {
			values = append(values, v.Value())
		}
	}
	return values
}

// valid looks at a tree and says whether nothing stops there.
func (r *report) valid(root *Node) bool {
	before := r.stopping
	v := &validator{report: r}
	v.check(workloadRule, root)
	if root.Kind == Map {
		v.rules(root)
	}
	return r.stopping == before
}

// scoreDocuments returns the documents of a file by number; those that are not Score are nil.
func (r *report) scoreDocuments(src *source) []*Node {
	before := r.stopping
	docs := r.documents(src)
	found, kind := 0, ""
	for i, doc := range docs {
		switch k := doc.Get("kind"); {
		case doc == nil || doc.Kind == Null:
			docs[i] = nil
		case k != nil:
			kind = k.text()
			if isScore(doc.Get("apiVersion").text()) {
				r.add(fault.New(fault.ScoreIgnored, "the document has the kind %q and is left out", clip(kind)).
					At(doc.entry("kind").Place).Warn())
			}
			docs[i] = nil
		default:
			found++
		}
	}
	if found == 0 && r.stopping == before {
		f := fault.New(fault.ScoreNone, "the file has no Score document").At(fault.Place{File: src.name})
		if kind != "" {
			f.Do("The file has only documents with a kind, such as %s; a Score document has none.", clip(kind))
		}
		r.add(f)
	}
	return docs
}

// override lays overrides over the only workload of a file.
func (r *report) override(name string, docs []*Node, overrides []Source) []*Node {
	target := -1
	count := 0
	for i, doc := range docs {
		if doc != nil {
			target, count = i, count+1
		}
	}
	if count > 1 {
		r.add(fault.New(fault.ScoreOverride, "the file has %d workloads, so that overrides cannot be applied", count).
			At(fault.Place{File: name}))
	}
	for _, o := range overrides {
		src := newSource(o)
		r.sources = append(r.sources, src)
		before := r.stopping
		over := r.single(src)
		if count != 1 {
			continue
		}
		broken := r.broken[docs[target]] || r.stopping > before
		if over != nil {
			docs[target] = merge(docs[target], over)
		}
		if broken {
			r.breaks(docs[target])
		}
	}
	if count != 1 {
		return nil
	}
	return docs
}

// single returns the one map of an override, nil if it has none.
func (r *report) single(src *source) *Node {
	var out *Node
	for _, doc := range r.documents(src) {
		switch {
		case doc == nil || doc.Kind == Null:
		case out != nil:
			r.add(fault.New(fault.ScoreOverride, "an override has one document; this is another").At(doc.Place))
		case doc.Kind != Map:
			r.add(fault.New(fault.ScoreOverride, "an override is a map and not %s", doc.Kind).At(doc.Place))
		default:
			out = doc
		}
	}
	return out
}
