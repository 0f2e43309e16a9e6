package planner

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner/kubernetes"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/secret"
)

// tokenPrefix begins what stands in a stored object for a secret value; the value's fingerprint follows.
const tokenPrefix = "sealed:"

// shortestSecret is the length, in bytes, from which a value of a Secret is looked for in other objects: shorter ones
// are ordinary words too often.
const shortestSecret = 8

// public are keys of Secrets whose values are no secrets themselves, but stand beside one.
var public = regexp.MustCompile(`(?i)(^|[-_.])(user(name)?|host(name)?|server|port|database|db(name)?|name|vhost|endpoint|region|bucket|scheme)$`)

// keepSecrets remembers the values of the Secrets among a resource's objects.
func (b *builder) keepSecrets(manifests []map[string]any) {
	for _, m := range manifests {
		if m["kind"] != "Secret" {
			continue
		}
		metadata, _ := m["metadata"].(map[string]any)
		name, _ := metadata["name"].(string)
		values, err := secretValues(m)
		if err != nil {
			continue // reported when the object is finished
		}
		for key, value := range values {
			b.values[kubernetes.SecretRef{Name: name, Key: key}] = value
			if len(value) >= shortestSecret && !public.MatchString(key) {
				b.secrets = append(b.secrets, value)
				b.telltales = append(b.telltales, inJSON(value), base64.StdEncoding.EncodeToString([]byte(value)))
			}
		}
	}
}

// secretValues returns the plain values of a Secret's data and stringData.
func secretValues(tree map[string]any) (map[string]string, error) {
	out := map[string]string{}
	for key, v := range asMap(tree["data"]) {
		plain, err := base64.StdEncoding.DecodeString(fmt.Sprint(v))
		if err != nil {
			return nil, fmt.Errorf("data.%s is not base64", key)
		}
		out[key] = string(plain)
	}
	for key, v := range asMap(tree["stringData"]) {
		out[key] = fmt.Sprint(v)
	}
	return out, nil
}

func asMap(v any) map[string]any { m, _ := v.(map[string]any); return m }

// outputsName is the Secret that we make for secret outputs that are in no Secret of their provisioner.
func (b *builder) outputsName() string { return b.w.Name + "-outputs" }

// hideOutputs replaces output values that hold a secret in clear text by references to a Secret of ours.
func (b *builder) hideOutputs(resource string, outputs map[string]any) map[string]any {
	hidden, _ := b.hide(resource, outputs).(map[string]any)
	return hidden
}

func (b *builder) hide(path string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = b.hide(path+"."+k, item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = b.hide(fmt.Sprintf("%s.%d", path, i), item)
		}
		return out
	case string:
		if !b.holdsSecret(v) {
			return v
		}
		key := unfit.ReplaceAllString(path, "-")
		b.generated[key] = v
		ref, err := recipe.SecretRef(b.outputsName(), key)
		if err != nil {
			return secret.Mask // neither name nor key is ever empty
		}
		return ref
	default:
		return v
	}
}

// unfit are the characters that the keys of a Secret cannot have.
var unfit = regexp.MustCompile(`[^A-Za-z0-9._-]`)

func (b *builder) holdsSecret(s string) bool {
	return slices.ContainsFunc(b.secrets, func(value string) bool { return strings.Contains(s, value) })
}

// leaks says whether an object's body tells a secret value.
func (b *builder) leaks(body string) bool {
	return slices.ContainsFunc(b.telltales, func(form string) bool { return strings.Contains(body, form) })
}

// inJSON returns a text as it stands in JSON, without the quotes.
func inJSON(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return text // strings always marshal
	}
	return string(quoted[1 : len(quoted)-1])
}

// use notes that something refers to a secret, so that the Secret of ours holds it.
func (b *builder) use(ref kubernetes.SecretRef) {
	if value, ours := b.generated[ref.Key]; ours && ref.Name == b.outputsName() {
		b.used[ref.Key] = value
	}
}

func (b *builder) secretValue(ref kubernetes.SecretRef) (string, bool) {
	if value, ours := b.generated[ref.Key]; ours && ref.Name == b.outputsName() {
		return value, true
	}
	value, known := b.values[ref]
	return value, known
}

func (b *builder) outputsSecret() map[string]any {
	data := make(map[string]any, len(b.used))
	for key, value := range b.used {
		data[key] = value
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": b.outputsName()}, "stringData": data,
	}
}

// seal finishes the objects: labels, namespace, and tokens in place of secret values.
func (b *builder) seal() {
	made := map[string]Object{}
	for _, o := range b.objects {
		object, ok := b.object(o)
		if !ok {
			continue
		}
		if other, twice := made[object.Key()]; twice {
			if other.Unit == UnitShared && string(other.Body) == string(object.Body) {
				continue // several resources need it, and it is the same
			}
			b.bad(fault.ObjectTwice, o.at, "%s %s is made twice: by %s and by %s", object.Kind, object.Name, maker(other), maker(object))
			continue
		}
		made[object.Key()] = object
		b.release.Objects = append(b.release.Objects, object)
	}
}

func maker(o Object) string {
	if o.Resource == "" {
		return "the workload"
	}
	return "resource " + o.Resource
}

func (b *builder) object(o objectSource) (Object, bool) {
	metadata := asMap(o.tree["metadata"])
	out := Object{Unit: o.unit}
	out.APIVersion, _ = o.tree["apiVersion"].(string)
	out.Kind, _ = o.tree["kind"].(string)
	out.Name, _ = metadata["name"].(string)
	if o.resource != nil {
		out.Resource = o.resource.UID
	}
	if _, many := o.tree["items"].([]any); many && strings.HasSuffix(out.Kind, "List") {
		b.bad(fault.ResourceManifest, o.at, "a manifest of %s is a %s; objects stand one by one", maker(out), out.Kind)
		return out, false
	}
	if out.APIVersion == "" || out.Kind == "" || out.Name == "" {
		b.bad(fault.ResourceManifest, o.at, "a manifest of %s lacks apiVersion, kind or metadata.name", maker(out))
		return out, false
	}
	if namespace, _ := metadata["namespace"].(string); namespace == "" && b.Environment.Namespace != "" && !clusterScoped[out.Kind] {
		metadata["namespace"] = b.Environment.Namespace
	}
	out.Namespace, _ = metadata["namespace"].(string)
	b.label(metadata, o.unit)
	if out.Kind == "Secret" {
		if err := b.sealSecret(o.tree); err != nil {
			b.bad(fault.ResourceManifest, o.at, "Secret %s of %s: %w", out.Name, maker(out), err)
			return out, false
		}
	}
	body, err := json.Marshal(o.tree)
	if err != nil {
		b.bad(fault.ResourceManifest, o.at, "%s %s of %s: %w", out.Kind, out.Name, maker(out), err)
		return out, false
	}
	if b.leaks(string(body)) {
		b.bad(fault.ResourceLeak, o.at, "%s %s of %s holds a value of a Secret in clear text", out.Kind, out.Name, maker(out))
		return out, false
	}
	out.Body = body
	if g := b.Environment.Target.GitOps; g != nil && g.Secrets == "" && out.HoldsSecrets() {
		b.bad(fault.SecretInGit, o.at, "Secret %s of %s holds values, and environment %s commits to Git", out.Name, maker(out), b.Environment.Name)
		return out, false
	}
	return out, true
}

func (b *builder) label(metadata map[string]any, unit Unit) {
	labels := maps.Clone(asMap(metadata["labels"]))
	if labels == nil {
		labels = map[string]any{}
	}
	labels["app.kubernetes.io/managed-by"] = kubernetes.ManagedBy
	if unit == UnitApplication {
		labels[kubernetes.LabelApplication] = b.w.Name
	}
	metadata["labels"] = labels
}

// sealSecret puts tokens in place of a Secret's values and keeps them apart.
func (b *builder) sealSecret(tree map[string]any) error {
	values, err := secretValues(tree)
	if err != nil {
		return err
	}
	data := map[string]any{}
	for key, value := range values {
		token := tokenPrefix + b.Secrets.Fingerprint(value)
		b.release.Hidden.Values[token] = base64.StdEncoding.EncodeToString([]byte(value))
		data[key] = token
	}
	delete(tree, "stringData")
	if len(data) > 0 {
		tree["data"] = data
	}
	return nil
}

// masked returns params as canonical JSON without secret values.
func (b *builder) masked(params map[string]any) json.RawMessage {
	if len(params) == 0 {
		return nil
	}
	text, err := json.Marshal(params)
	if err != nil {
		return nil // params come from YAML, which marshals
	}
	for _, value := range b.secrets {
		text = bytes.ReplaceAll(text, []byte(inJSON(value)), []byte(tokenPrefix+b.Secrets.Fingerprint(value)))
	}
	return text
}

// clusterScoped are the kinds of Kubernetes' own APIs that have no namespace.
var clusterScoped = map[string]bool{
	"Namespace": true, "Node": true, "PersistentVolume": true, "ClusterRole": true, "ClusterRoleBinding": true,
	"CustomResourceDefinition": true, "StorageClass": true, "PriorityClass": true, "IngressClass": true, "RuntimeClass": true,
	"GatewayClass": true, "ValidatingWebhookConfiguration": true, "MutatingWebhookConfiguration": true, "APIService": true,
	"ValidatingAdmissionPolicy": true, "ValidatingAdmissionPolicyBinding": true, "CSIDriver": true, "ClusterIssuer": true,
}

// Open returns the object with its secret values, as the target gets it.
func (r *Release) Open(o Object) (map[string]any, error) {
	tree, err := recipe.Decode(o.Body)
	if err != nil {
		return nil, fmt.Errorf("read %s %s of release: %w", o.Kind, o.Name, err)
	}
	if o.Kind != "Secret" {
		return tree, nil
	}
	data := asMap(tree["data"])
	for key, v := range data {
		token, _ := v.(string)
		value, known := r.Hidden.Values[token]
		if !known {
			return nil, fmt.Errorf("value %s of Secret %s is not in the release", key, o.Name)
		}
		data[key] = value
	}
	return tree, nil
}

// HoldsSecrets says whether an object has secret values.
func (o Object) HoldsSecrets() bool {
	return o.Kind == "Secret" && strings.Contains(string(o.Body), tokenPrefix)
}

// SecretValues returns the plain secret values of the release, for redaction.
func (r *Release) SecretValues() []string {
	var out []string
	for _, encoded := range slices.Sorted(maps.Values(r.Hidden.Values)) {
		if plain, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			out = append(out, string(plain))
		}
	}
	return out
}
