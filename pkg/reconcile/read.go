package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/score"
)

// document is a Score document of a tree as it is for one environment.
type document struct {
	// path is the file's, with #2 and so on for further documents.
	path     string
	workload *score.Workload // nil if faults stop it
	faults   fault.List
	// none: the file holds no Score document. It may belong to somebody else.
	none bool
	// atomic are the values of [apply.AtomicAnnotation], of a file that cannot be deployed too: of all that it holds.
	atomic []string
	// content is a hash of the file, its override and the files that it refers to.
	content string
}

// DefaultPaths find Score files where nobody says otherwise.
var DefaultPaths = []string{"**/score.yaml", "**/score.yml", "**/*.score.yaml", "**/*.score.yml"}

// sight is what an environment sees of a tree.
type sight struct {
	environment string
	tree        Tree
	documents   []document
}

// see reads a tree for an environment.
func see(tree Tree, repo gitwatch.Repository, environment string) (sight, error) {
	docs, err := documents(tree, repo.Paths, environment)
	return sight{environment, tree, docs}, err
}

// documents reads all Score documents of a tree for an environment, sorted by path. An error means that the tree could
// not be read, and nothing may be concluded from it; what is wrong in files is in the documents' faults.
func documents(tree Tree, patterns []string, environment string) ([]document, error) {
	paths, err := tree.Paths(func(p string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { return doublestar.MatchUnvalidated(pattern, p) })
	})
	if err != nil {
		return nil, fmt.Errorf("find Score files: %w", err)
	}
	var out []document
	for _, p := range paths {
		list, err := readFile(tree, p, environment)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// readFile reads the documents of one file with its override.
func readFile(tree Tree, name, environment string) ([]document, error) {
	base, ok, broken, err := source(tree, name)
	switch {
	case err != nil:
		return nil, err
	case broken != nil:
		return []document{{path: name, faults: broken}}, nil
	case !ok:
		return nil, fmt.Errorf("read %s: it is in the tree and cannot be found", name)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %s", len(base.Data), base.Data)
	var overrides []score.Source
	override, ok, broken, err := source(tree, overrideOf(name, environment))
	if err != nil {
		return nil, err
	}
	if broken != nil {
		return []document{{path: name, faults: broken}}, nil
	}
	if ok {
		overrides = append(overrides, override)
		fmt.Fprintf(h, "%d %s", len(override.Data), override.Data)
	}
	workloads, faults := score.Load(base, overrides...)
	if faults.Err() != nil {
		// One broken document makes the whole file wait: which documents it holds is not certain.
		d := document{path: name, faults: faults, none: onlyNone(faults)}
		for _, src := range append(overrides, base) {
			d.atomic = append(d.atomic, score.Annotated(src, apply.AtomicAnnotation)...)
		}
		return []document{d}, nil
	}
	var out []document
	for i, w := range workloads {
		d := document{path: name, workload: w, faults: faults}
		if group := w.Root.Lookup("metadata", "annotations", apply.AtomicAnnotation); group != nil {
			d.atomic = []string{group.Value()}
		}
		if i > 0 {
			d.path = fmt.Sprintf("%s#%d", name, i+1)
		}
		if d.content, err = referenced(tree, w, h.Sum(nil)); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func onlyNone(faults fault.List) bool {
	return len(faults) == 1 && faults[0].Code == fault.ScoreNone
}

// source reads a file; what is wrong with the file itself is a fault, not an error.
func source(tree Tree, name string) (src score.Source, found bool, broken fault.List, err error) {
	content, found, err := tree.Read(name)
	if f, ok := fault.As(err); ok && f.Class() == fault.Permanent {
		return src, true, fault.List{f}, nil
	}
	if err != nil {
		return src, false, nil, fmt.Errorf("read %s: %w", name, err)
	}
	return score.Source{Name: name, Data: content}, found, nil, nil
}

// overrideOf is the file that changes a Score file for an environment: score.yaml and score.production.yaml.
func overrideOf(name, environment string) string {
	extension := path.Ext(name)
	return strings.TrimSuffix(name, extension) + "." + environment + extension
}

// referenced hashes the files that a workload refers to. One that cannot be used is a fault of the plan, not of the
// reading.
func referenced(tree Tree, w *score.Workload, base []byte) (string, error) {
	h := sha256.New()
	h.Write(base)
	for _, c := range w.Containers {
		for _, f := range c.Files {
			if f.Source == "" {
				continue
			}
			full := path.Join(path.Dir(w.File), f.Source)
			content, found, err := tree.Read(full)
			if err != nil && fault.ClassOf(err) != fault.Permanent {
				return "", fmt.Errorf("read %s: %w", full, err)
			}
			fmt.Fprintf(h, "%s %t %d %s", full, found, len(content), content)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// inputs hashes everything that a release of a document depends on.
func (r *Reconciler) inputs(d document, v *view, w surroundings) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %s", d.content, d.workload.Name, v.platform.Digest, v.environment.Name)
	usesServices := false
	for _, res := range d.workload.Resources {
		provisioner := v.platform.Provisioner(res.Type, res.Class, res.ID)
		usesServices = usesServices || provisioner != nil && provisioner.Recipe != nil && provisioner.Recipe.UsesServices
		if stored := w.stored[planner.UID(d.workload.Name, res)]; res.ID != "" && stored.DescribedBy != d.workload.Name {
			fmt.Fprintf(h, "%s", r.Keys.Fingerprint(string(stored.Record.Result)))
		}
	}
	if usesServices {
		text, err := json.Marshal(w.services)
		if err != nil {
			panic(err) // strings and numbers always marshal
		}
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// read returns the function by which planning reads files of the tree.
func read(tree Tree) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		content, found, err := tree.Read(name)
		if err == nil && !found {
			return nil, fault.New(fault.FileMissing, "there is no file %s in this commit", name)
		}
		return content, err
	}
}
