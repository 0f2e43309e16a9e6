package planner

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner/kubernetes"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/score"
)

// Input is everything that a release depends on.
type Input struct {
	Workload    *score.Workload
	Environment *platform.Environment
	Platform    *platform.Platform
	// Services of the environment's other workloads, by workload.
	Services map[string]recipe.Service
	// Stored is what the environment's resources are now, by UID.
	Stored map[string]StoredResource
	// Shared is the state that all resources of the environment share.
	Shared map[string]any
	// Base is the release that is in the target, or nil: a resource that was made of the same as now is taken from it.
	Base *Release
	// Source reads a file of the application's commit; the path is relative to the repository's root.
	Source func(path string) ([]byte, error)
	// Secrets makes fingerprints and seeds.
	Secrets Secrets
}

// Secrets is what planning needs of a keyring.
type Secrets interface {
	// Fingerprint returns hexadecimal digits that stand for a value and do not tell it.
	Fingerprint(value string) string
	// Derive returns 32 bytes that depend on a secret key and the purpose.
	Derive(purpose string) []byte
}

// StoredResource is a resource as it was provisioned last.
type StoredResource struct {
	Provisioner string
	// Params are those of the application that describes the resource, as canonical JSON.
	Params []byte
	// DescribedBy is the workload whose evaluation counts, of those that share the resource.
	DescribedBy string
	// Record is that evaluation; zero for a resource that is not shared.
	Record recipe.Record
	// Deleted says that it is gone.
	Deleted bool
	State   map[string]any
}

// Build makes the release of a workload. The faults tell everything that stops it, or are warnings beside a release.
func Build(in Input) (*Release, fault.List) {
	b := &builder{
		Input: in, w: in.Workload,
		release: &Release{Workload: in.Workload.Name, Score: in.Workload.Root, Service: ServiceOf(in.Workload)},
		outputs: map[string]map[string]any{}, values: map[kubernetes.SecretRef]string{}, generated: map[string]string{},
		used: map[string]string{},
	}
	b.release.Hidden = Hidden{Values: map[string]string{}, Records: map[string]recipe.Record{}}
	b.services = maps.Clone(in.Services)
	if b.services == nil {
		b.services = map[string]recipe.Service{}
	}
	b.services[b.w.Name] = b.release.Service
	b.checkReferences()
	for _, name := range b.w.ResourceOrder() {
		if r, ok := b.w.Resource(name); ok {
			b.provision(r)
		}
	}
	b.render()
	b.w.Show(b.faults)
	b.faults.Sort()
	if b.faults.Err() != nil {
		return nil, b.faults
	}
	b.finish()
	return b.release, b.faults
}

type builder struct {
	Input
	w        *score.Workload
	release  *Release
	services map[string]recipe.Service
	// outputs of the resources by name.
	outputs map[string]map[string]any
	// values are the secret values that are known, by the Secret that holds them.
	values map[kubernetes.SecretRef]string
	// generated are values of outputs that are secret but not in a Secret yet, by key of the Secret that we make; used
	// are those that something refers to.
	generated, used map[string]string
	// secrets are values that must not stand in clear text anywhere.
	secrets []string
	// telltales are what a text that holds one of them has in it: the value as JSON writes it, and in base64.
	telltales []string
	objects   []objectSource
	faults    fault.List
}

// objectSource is an object tree before it is finished, with who made it.
type objectSource struct {
	tree     map[string]any
	resource *Resource
	unit     Unit
	at       fault.Place
}

func (b *builder) bad(code fault.Code, at fault.Place, format string, args ...any) *fault.Fault {
	f := fault.New(code, format, args...).At(at)
	b.faults = append(b.faults, f)
	return f
}

// ServiceOf returns how other workloads reach a workload.
func ServiceOf(w *score.Workload) recipe.Service {
	s := recipe.Service{ServiceName: kubernetes.ServiceName(w), Ports: map[string]recipe.Port{}}
	for _, p := range w.Ports {
		port := recipe.Port{Name: p.Name, Port: p.Port, TargetPort: p.TargetPort, Protocol: p.Protocol}
		if number := strconv.Itoa(p.Port); s.Ports[number].Name == "" {
			s.Ports[number] = port
		}
		s.Ports[p.Name] = port
	}
	return s
}

// checkReferences types every placeholder, in source files too, against the provisioner that will fulfil the resource.
func (b *builder) checkReferences() {
	b.faults = append(b.faults, b.w.CheckReferences(b.promised)...)
	for _, c := range b.w.Containers {
		for _, f := range c.Files {
			if f.Source == "" || f.NoExpand {
				continue
			}
			content, err := b.source(f.Source, f.ContentAt)
			if err != nil || !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0 {
				continue // reported when the file is rendered, or not text
			}
			file := score.Source{Name: path.Join(path.Dir(b.w.File), f.Source), Data: content}
			_, faults := b.w.CheckFile(file, c.Name, b.promised)
			b.faults = append(b.faults, faults...)
		}
	}
}

// promised returns the outputs that the provisioner of a resource gives, if it tells.
func (b *builder) promised(r score.Resource) ([]string, bool) {
	p := b.Platform.Provisioner(r.Type, r.Class, r.ID)
	switch {
	case p != nil && p.Type == "environment" && p.Kind() == "static":
		return slices.Sorted(maps.Keys(b.Environment.Variables)), true
	case p == nil || p.ExpectedOutputs == nil:
		return nil, false
	default:
		return p.ExpectedOutputs, true
	}
}

// render makes the workload's own objects.
func (b *builder) render() {
	scaled := slices.ContainsFunc(b.objects, func(o objectSource) bool { return scales(o.tree, b.w.Name) })
	trees, faults := kubernetes.Render(kubernetes.Input{
		Workload: b.w, Namespace: b.Environment.Namespace, Defaults: b.Environment.Defaults, Scaled: scaled,
		Resolve: b.resolve, Volume: b.volume, Source: b.source,
		SecretValue: func(ref kubernetes.SecretRef) (string, bool) { v, ok := b.secretValue(ref); return v, ok },
		Fingerprint: b.Secrets.Fingerprint,
	})
	b.faults = append(b.faults, faults...)
	for _, tree := range trees {
		b.objects = append(b.objects, objectSource{tree: tree, unit: UnitApplication, at: b.w.NameAt})
	}
	if len(b.used) > 0 {
		b.objects = append(b.objects, objectSource{tree: b.outputsSecret(), unit: UnitApplication, at: b.w.NameAt})
	}
	b.seal()
}

// scales says whether an object sets the number of replicas of the workload.
func scales(tree map[string]any, workload string) bool {
	spec, _ := tree["spec"].(map[string]any)
	ref, _ := spec["scaleTargetRef"].(map[string]any)
	return ref["name"] == workload
}

// finish sorts the objects and computes the digest.
func (b *builder) finish() {
	slices.SortFunc(b.release.Objects, func(x, y Object) int {
		return cmp.Or(cmp.Compare(x.Unit, y.Unit), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Namespace, y.Namespace),
			cmp.Compare(x.Name, y.Name), cmp.Compare(x.APIVersion, y.APIVersion))
	})
	target, err := json.Marshal(b.Environment.Target)
	if err != nil {
		panic(err) // only strings
	}
	b.release.Target = target
	b.release.Digest = b.release.digest()
}

// cutLast cuts s at the last separator.
func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}
