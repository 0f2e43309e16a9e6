package planner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
	"github.com/innominatus/reconciler/pkg/secret"
)

// Action is what happens to something.
type Action string

// The actions of a plan.
const (
	Create  Action = "create"
	Update  Action = "update"
	Replace Action = "replace"
	Delete  Action = "delete"
	None    Action = "none"
)

// Change is what happens to one part of a workload: a container, a resource, the service or the metadata.
type Change struct {
	Action Action `json:"action"`
	// Part is containers.NAME, resources.NAME, service, metadata, or target for the place that is delivered to.
	Part string `json:"part"`
	// Detail says in a few words what it is, for example the image or the resource's type and class.
	Detail string `json:"detail,omitempty"`
	// Stateful says that the change loses data.
	Stateful bool        `json:"stateful,omitempty"`
	Fields   []Field     `json:"fields,omitempty"`
	At       fault.Place `json:"at,omitzero"`
}

// Field is the difference of one value.
type Field struct {
	// Path leads from the part to the value, dots in keys escaped.
	Path   string `json:"path"`
	Action Action `json:"action"`
	// Before and After are for people: secrets are masked, long texts are counted.
	Before   string      `json:"before,omitempty"`
	After    string      `json:"after,omitempty"`
	BeforeAt fault.Place `json:"beforeAt,omitzero"`
	AfterAt  fault.Place `json:"afterAt,omitzero"`
}

// ObjectChange is what happens to one object of the target.
type ObjectChange struct {
	Action    Action  `json:"action"`
	Kind      string  `json:"kind"`
	Namespace string  `json:"namespace,omitempty"`
	Name      string  `json:"name"`
	Unit      Unit    `json:"unit"`
	Fields    []Field `json:"fields,omitempty"`
}

// Changes returns the difference between two releases in the user's words. Either may be nil.
func Changes(from, to *Release) []Change {
	before, after := partsOf(from), partsOf(to)
	var out []Change
	for _, name := range union(before, after) {
		c := Change{Part: name, Action: Update}
		a, b := before[name], after[name]
		if name == "metadata" && (a == nil || b == nil) {
			continue // an application that comes or goes does so as a whole
		}
		switch {
		case a == nil:
			c.Action, c.At, c.Detail = Create, b.Place, detail(name, b)
		case b == nil:
			c.Action, c.At, c.Detail = Delete, a.Place, detail(name, a)
			c.Stateful = isStateful(from, name)
		default:
			c.At, c.Detail = b.Place, detail(name, b)
			c.Fields = fields(a, b)
			// The resources of a workload with another name are others, even if nothing in them changed.
			if made(from, name) != made(to, name) {
				c.Action, c.Stateful = Replace, isStateful(from, name)
			} else if len(c.Fields) == 0 {
				continue
			}
		}
		out = append(out, c)
	}
	return append(out, moves(from, to)...)
}

// moves returns the change of the place that an environment delivers to.
func moves(from, to *Release) []Change {
	if from == nil || to == nil || len(from.Target) == 0 || bytes.Equal(from.Target, to.Target) {
		return nil
	}
	return []Change{{
		Action: Update, Part: "target", Detail: "what was delivered before stays where it is",
		Fields: compare(bodyLeaves(from.Target), bodyLeaves(to.Target)),
	}}
}

// made returns the identity of a part: a resource with another UID is another one.
func made(r *Release, part string) string {
	for _, res := range r.Resources {
		if "resources."+res.Name == part {
			return res.UID
		}
	}
	return ""
}

func isStateful(r *Release, part string) bool {
	return slices.ContainsFunc(r.Resources, func(res Resource) bool { return "resources."+res.Name == part && res.Stateful })
}

// partsOf cuts a release's Score document into its parts.
func partsOf(r *Release) map[string]*score.Node {
	parts := map[string]*score.Node{}
	if r == nil || r.Score == nil {
		return parts
	}
	for _, e := range r.Score.Entries {
		switch e.Key {
		case "containers", "resources":
			for _, below := range e.Value.Entries {
				parts[e.Key+"."+escape(below.Key)] = below.Value
			}
		case "apiVersion": // the same for all
		default:
			parts[e.Key] = e.Value
		}
	}
	return parts
}

func detail(part string, n *score.Node) string {
	switch {
	case strings.HasPrefix(part, "resources."):
		return fmt.Sprintf("%s (class %s)", textOf(n, "type", "?"), textOf(n, "class", "default"))
	case strings.HasPrefix(part, "containers."):
		return textOf(n, "image", "")
	default:
		return ""
	}
}

func textOf(n *score.Node, key, otherwise string) string {
	if v := n.Get(key); v != nil {
		return v.Value()
	}
	return otherwise
}

// leaf is a scalar value below a part.
type leaf struct {
	text string
	at   fault.Place
}

func fields(a, b *score.Node) []Field {
	before, after := map[string]leaf{}, map[string]leaf{}
	leaves(a, "", before)
	leaves(b, "", after)
	return compare(before, after)
}

// leaves collects the scalar values of a tree by path. Empty maps and lists count as values.
func leaves(n *score.Node, path string, into map[string]leaf) {
	switch {
	case n.Kind == score.Map && len(n.Entries) > 0:
		for _, e := range n.Entries {
			leaves(e.Value, join(path, escape(e.Key)), into)
		}
	case n.Kind == score.List && len(n.Items) > 0:
		for i, item := range n.Items {
			leaves(item, join(path, strconv.Itoa(i)), into)
		}
	case n.Kind == score.Map:
		into[path] = leaf{"{}", n.Place}
	case n.Kind == score.List:
		into[path] = leaf{"[]", n.Place}
	default:
		into[path] = leaf{n.Value(), n.Place}
	}
}

func compare(before, after map[string]leaf) []Field {
	var out []Field
	for _, path := range union(before, after) {
		a, had := before[path]
		b, has := after[path]
		if had && has && a.text == b.text {
			continue
		}
		f := Field{Path: path, Action: Update, BeforeAt: a.at, AfterAt: b.at}
		switch {
		case !had:
			f.Action = Create
		case !has:
			f.Action = Delete
		}
		f.Before, f.After = shown(path, a.text), shown(path, b.text)
		if had && has && f.Before == f.After {
			f.After += " (changed)"
		}
		out = append(out, f)
	}
	return out
}

// tellingWords are the last words of names whose values are shown to nobody, although a Score file holds them.
const tellingWords = `(?:password|passwd|secret|token|api[-_]?key|private[-_]?key|credentials?)`

var (
	// telling finds paths of such values, in Score files and in a container's env.
	telling = regexp.MustCompile(`(?i)` + tellingWords + `(\]\.value)?$`)
	// tellingInside finds them inside texts: --password=…, ?token=…, ://user:…@host; placeholders are no secrets.
	tellingInside = regexp.MustCompile(`(?i)(` + tellingWords + `=|://[^\s:/@]*:)[^\s&@$/][^\s&@]*`)
)

// shownLimit is the longest value that is shown whole, in bytes.
const shownLimit = 200

// shown returns a value as people may see it: one line, without secrets.
func shown(path, text string) string {
	switch {
	case text == "":
		return `""`
	case strings.HasPrefix(text, tokenPrefix), telling.MatchString(path) && !onlyPlaceholders(text):
		return secret.Mask
	case strings.Contains(text, "\n"):
		return fmt.Sprintf("(%d lines)", strings.Count(strings.TrimSuffix(text, "\n"), "\n")+1)
	}
	size := len(text)
	text = tellingInside.ReplaceAllString(text, "${1}"+secret.Mask)
	if len(text) > shownLimit {
		return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:shownLimit], ""), size)
	}
	return text
}

func onlyPlaceholders(text string) bool {
	return !slices.ContainsFunc(score.Parse(text), func(p score.Part) bool { return p.Path == nil })
}

// ObjectChanges returns the difference between the objects of two releases. Either may be nil.
func ObjectChanges(from, to *Release) []ObjectChange {
	before, after := objectsOf(from), objectsOf(to)
	var out []ObjectChange
	for _, key := range union(before, after) {
		a, had := before[key]
		b, has := after[key]
		o := b
		if !has {
			o = a
		}
		c := ObjectChange{Action: Update, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Unit: o.Unit}
		switch {
		case !had:
			c.Action = Create
		case !has:
			c.Action = Delete
		case string(a.Body) == string(b.Body) && a.Unit == b.Unit:
			continue
		default:
			c.Fields = compare(bodyLeaves(a.Body), bodyLeaves(b.Body))
		}
		out = append(out, c)
	}
	return out
}

func objectsOf(r *Release) map[string]Object {
	out := map[string]Object{}
	if r != nil {
		for _, o := range r.Objects {
			out[o.Key()] = o
		}
	}
	return out
}

func bodyLeaves(body json.RawMessage) map[string]leaf {
	out := map[string]leaf{}
	var tree any
	if err := json.Unmarshal(body, &tree); err == nil { // bodies are made by us
		jsonLeaves(tree, "", out)
	}
	return out
}

// jsonLeaves collects scalars by path; items of a list are named by their name where they have one.
func jsonLeaves(v any, path string, into map[string]leaf) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			jsonLeaves(item, join(path, escape(k)), into)
		}
		if len(v) == 0 {
			into[path] = leaf{text: "{}"}
		}
	case []any:
		labels := labelsOf(v)
		for i, item := range v {
			jsonLeaves(item, fmt.Sprintf("%s[%s]", path, labels[i]), into)
		}
		if len(v) == 0 {
			into[path] = leaf{text: "[]"}
		}
	default:
		into[path] = leaf{text: asText(v)}
	}
}

// labelsOf names the items of a list: by mountPath or name where all have one of their own, else by number.
func labelsOf(list []any) []string {
	labels := make([]string, len(list))
	for _, key := range []string{"mountPath", "name"} {
		seen := map[string]bool{}
		for i, item := range list {
			labels[i], _ = asMap(item)[key].(string)
			seen[labels[i]] = true
		}
		if len(seen) == len(list) && !seen[""] {
			return labels
		}
	}
	for i := range labels {
		labels[i] = strconv.Itoa(i)
	}
	return labels
}

func union[V any](a, b map[string]V) []string {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// escape writes the dots of a key so that they do not look like separators.
func escape(key string) string { return strings.ReplaceAll(key, ".", `\.`) }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
