package planner

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/score"
)

// UID identifies a resource of a workload in its environment. An id with a dot gets another one in front: shop.db is not
// the resource db of the workload shop.
func UID(workload string, r score.Resource) string {
	switch {
	case strings.Contains(r.ID, "."):
		return fmt.Sprintf("%s.%s#.%s", r.Type, r.Class, r.ID)
	case r.ID != "":
		return fmt.Sprintf("%s.%s#%s", r.Type, r.Class, r.ID)
	}
	return fmt.Sprintf("%s.%s#%s.%s", r.Type, r.Class, workload, r.Name)
}

// provision fulfils one resource and keeps its outputs and objects.
func (b *builder) provision(r score.Resource) {
	p := b.provisioner(r)
	if p == nil {
		return
	}
	id := UID(b.w.Name, r)
	params, ok := b.params(r, p, id)
	if !ok {
		return
	}
	out := Resource{UID: id, Name: r.Name, Type: r.Type, Class: r.Class, ID: r.ID, Provisioner: p.URI, At: r.At}
	result, ok := b.evaluate(r, p, &out, params)
	if !ok {
		return
	}
	for _, name := range p.ExpectedOutputs {
		if _, given := result.Outputs[name]; !given && p.Kind() == "template" {
			b.bad(fault.ResourceOutputs, r.At, "provisioner %s gives no output %q for resource %s", p.URI, name, r.Name)
		}
	}
	unit := UnitApplication
	if r.ID != "" || (p.Recipe != nil && p.Recipe.Sharing) {
		unit = UnitShared
	}
	out.Stateful = stateful(p, result.Manifests)
	out.Params = b.masked(params)
	b.keepSecrets(result.Manifests)
	b.outputs[r.Name] = b.hideOutputs(r.Name, result.Outputs)
	out.Outputs = display(b.outputs[r.Name])
	b.release.Resources = append(b.release.Resources, out)
	for _, tree := range result.Manifests {
		b.objects = append(b.objects, objectSource{tree: tree, resource: &out, unit: unit, at: r.At})
	}
}

// provisioner finds who fulfils a resource, and refuses one that differs from who made it.
func (b *builder) provisioner(r score.Resource) *platform.Provisioner {
	p := b.Platform.Provisioner(r.Type, r.Class, r.ID)
	if p == nil {
		b.bad(fault.ResourceType, r.TypeAt, "no provisioner fulfils resource %s of type %s, class %s", r.Name, r.Type, r.Class).
			Suggest(fault.Nearest(r.Type, b.Platform.Types()))
		return nil
	}
	stored, made := b.Stored[UID(b.w.Name, r)]
	if made && !stored.Deleted && stored.Provisioner != p.URI {
		b.bad(fault.ResourceOtherMaker, r.TypeAt, "resource %s was made by %s and would now be made by %s", r.Name, stored.Provisioner, p.URI)
		return nil
	}
	return p
}

// params resolves a resource's params and checks that the provisioner knows them, and that nobody who shares the
// resource gave others.
func (b *builder) params(r score.Resource, p *platform.Provisioner, id string) (map[string]any, bool) {
	before := len(b.faults)
	params := map[string]any{}
	if r.Params != nil {
		for _, e := range r.Params.Entries {
			if !p.Allows(e.Key) {
				b.bad(fault.ResourceParam, e.Place, "provisioner of resource %s has no param %q", r.Name, e.Key).
					Suggest(fault.Nearest(e.Key, p.SupportedParams)).Do("%s", paramsOf(p))
				continue
			}
			params[e.Key] = b.tree(e.Value)
		}
	}
	if stored := b.Stored[id]; len(params) > 0 && !b.describes(r, id) && len(stored.Params) > 0 && !bytes.Equal(b.masked(params), stored.Params) {
		b.bad(fault.ResourceShared, r.At, "resource %s (id %s) has other params in workload %s", r.Name, r.ID, stored.DescribedBy)
	}
	return params, len(b.faults) == before
}

// describes says whether this workload's evaluation of a resource counts. That of one that gives no params does not if
// another one was there before.
func (b *builder) describes(r score.Resource, id string) bool {
	stored, made := b.Stored[id]
	given := r.Params != nil && len(r.Params.Entries) > 0
	return r.ID == "" || !made || stored.Deleted || stored.DescribedBy == "" || stored.DescribedBy == b.w.Name || given && len(stored.Params) == 0
}

// tree turns a node into plain values with placeholders in strings resolved.
func (b *builder) tree(n *score.Node) any {
	switch n.Kind {
	case score.Map:
		out := make(map[string]any, len(n.Entries))
		for _, e := range n.Entries {
			out[e.Key] = b.tree(e.Value)
		}
		return out
	case score.List:
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			out[i] = b.tree(item)
		}
		return out
	case score.String:
		return b.text(n.Text, n.Place)
	default:
		return plain(n)
	}
}

// plain returns the Go value of a node without looking for placeholders.
func plain(n *score.Node) any {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case score.Map:
		out := make(map[string]any, len(n.Entries))
		for _, e := range n.Entries {
			out[e.Key] = plain(e.Value)
		}
		return out
	case score.List:
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			out[i] = plain(item)
		}
		return out
	case score.String:
		return n.Text
	case score.Bool:
		return n.Text == "true"
	case score.Int, score.Float:
		return recipe.Number(n.Text)
	default:
		return nil
	}
}

func plainMap(n *score.Node) map[string]any {
	m, _ := plain(n).(map[string]any)
	return m
}

func (b *builder) evaluate(r score.Resource, p *platform.Provisioner, out *Resource, params map[string]any) (*recipe.Result, bool) {
	if p.Kind() == "static" {
		outputs, err := p.StaticOutputs()
		if err != nil {
			b.bad(fault.ResourceProvision, r.At, "resource %s: %w", r.Name, err)
			return nil, false
		}
		if p.Type == "environment" {
			for k, v := range b.Environment.Variables {
				outputs[k] = v
			}
		}
		return &recipe.Result{Outputs: outputs}, true
	}
	stored := b.Stored[out.UID]
	if stored.Deleted {
		stored.State = nil
	}
	if !b.describes(r, out.UID) && len(stored.Record.Result) > 0 {
		result, err := stored.Record.Read()
		if err != nil {
			b.provisionFault(r, err)
			return nil, false
		}
		b.release.Hidden.Records[out.UID] = stored.Record
		return result, true
	}
	source, services := b.declarer(r)
	key := cmp.Or(r.ID, b.w.Name+"."+r.Name) // what score-k8s has templates see
	// A resource that comes back after it was deleted is the same one again, so that a revert gives the same release.
	identity := b.Environment.Name + " " + out.UID
	result, record, err := p.Recipe.Evaluate(recipe.Input{
		Uid: out.UID, Guid: recipe.UUID([16]byte(b.Secrets.Derive("guid " + identity)[:16])),
		Type: r.Type, Class: r.Class, Id: key, Params: params, Metadata: plainMap(r.Metadata),
		State: stored.State, Shared: b.shared(), SourceWorkload: source, WorkloadMetadata: plainMap(b.w.Metadata),
		WorkloadServices: services, Namespace: b.Environment.Namespace, Seed: [32]byte(b.Secrets.Derive("random " + identity)),
	}, b.record(out.UID))
	if err != nil {
		b.provisionFault(r, err)
		return nil, false
	}
	b.release.Hidden.Records[out.UID] = record
	if p.Recipe.Sharing {
		b.release.Hidden.Shared = result.Shared
	}
	return result, true
}

// record returns how a resource was evaluated for the release that is in the target.
func (b *builder) record(uid string) recipe.Record {
	if b.Base == nil {
		return recipe.Record{}
	}
	return b.Base.Hidden.Records[uid]
}

// declarer returns the workload that a resource belongs to in the eyes of its provisioner, and the services. Templates
// make names of it, so for a shared resource it is the id: whichever workload is planned first, all get the same names.
// There, the service of that name is the planned workload's own.
func (b *builder) declarer(r score.Resource) (string, map[string]recipe.Service) {
	if r.ID == "" {
		return b.w.Name, b.services
	}
	name := strings.ReplaceAll(r.ID, ".", "-")
	if _, taken := b.services[name]; taken {
		return name, b.services
	}
	services := maps.Clone(b.services)
	services[name] = b.release.Service
	return name, services
}

func (b *builder) shared() map[string]any {
	if b.release.Hidden.Shared != nil {
		return b.release.Hidden.Shared
	}
	return b.Shared
}

func (b *builder) provisionFault(r score.Resource, err error) {
	if shape, ok := errors.AsType[*recipe.ShapeError](err); ok {
		at := r.At
		if n := r.Params.Lookup(shape.Path[1:]...); shape.Path[0] == "params" && n != nil {
			at = n.Place
		}
		b.bad(fault.ResourceShape, at, "resource %s: %w", r.Name, err)
		return
	}
	at := r.At
	if failed, ok := errors.AsType[*recipe.Error](err); ok {
		if m := aboutParam.FindStringSubmatch(failed.Err.Error()); m != nil {
			if n := r.Params.Get(m[1]); n != nil {
				at = n.Place
			}
			err = failed.Err
		}
	}
	f := b.bad(fault.ResourceProvision, at, "resource %s: %w", r.Name, err)
	if m := ofTemplate.FindStringSubmatch(err.Error()); m != nil {
		f.Message = fmt.Sprintf("resource %s: its provisioner fails in section %s, line %s, at %s: %s", r.Name, m[1], m[2], m[3], m[4])
		f.Do("Look at the resource's params. If they are right, the platform team has to correct the provisioner.")
	}
}

var (
	// aboutParam is how a template's fail names the param that is wrong.
	aboutParam = regexp.MustCompile(`^param (\S+) `)
	// ofTemplate is how text/template names the section, line, column and expression in which a call is not possible; its
	// error has them in its text alone.
	ofTemplate = regexp.MustCompile(`(?s)^\w+: template: (\w+):(\d+):\d+: executing "\w+" at (<.*?>): (.*)$`)
)

// stateful says whether deleting a resource with these objects loses data.
func stateful(p *platform.Provisioner, manifests []map[string]any) bool {
	if p.Stateful != nil {
		return *p.Stateful
	}
	return slices.ContainsFunc(manifests, func(m map[string]any) bool {
		spec, _ := m["spec"].(map[string]any)
		claims, _ := spec["volumeClaimTemplates"].([]any)
		return m["kind"] == "PersistentVolumeClaim" || len(claims) > 0
	})
}

// paramsOf says what may be written instead of a param that is not known.
func paramsOf(p *platform.Provisioner) string {
	if len(p.SupportedParams) == 0 {
		return fmt.Sprintf("Remove it: resources of type %s take no params.", p.Type)
	}
	return fmt.Sprintf("Its params are %s.", strings.Join(p.SupportedParams, ", "))
}
