package score

import (
	"cmp"
	"encoding/base64"
	"slices"

	"github.com/innominatus/reconciler/pkg/fault"
)

// build makes the typed workload of a valid tree.
func build(root *Node, document int, sources []*source) *Workload {
	meta := root.Get("metadata")
	w := &Workload{
		File: root.Place.File, Document: document, At: root.Place, Root: root, Metadata: meta, sources: sources,
		Name: meta.Get("name").text(), NameAt: meta.Get("name").Place,
		Annotations: annotations(meta),
	}
	for _, e := range root.Lookup("service", "ports").sorted() {
		w.Ports = append(w.Ports, buildPort(e))
	}
	for _, e := range root.Get("containers").sorted() {
		w.Containers = append(w.Containers, buildContainer(e))
	}
	for _, e := range root.Get("resources").sorted() {
		w.Resources = append(w.Resources, Resource{
			Name: e.Key, At: e.Place, Type: e.Value.Get("type").text(), TypeAt: e.Value.Get("type").Place,
			Class: cmp.Or(e.Value.Get("class").text(), "default"), ID: e.Value.Get("id").text(),
			Metadata: e.Value.Get("metadata"), Params: e.Value.Get("params"),
			Annotations: annotations(e.Value.Get("metadata")),
		})
	}
	return w
}

func annotations(metadata *Node) (out []Annotation) {
	for _, e := range metadata.Get("annotations").sorted() {
		out = append(out, Annotation{Name: e.Key, Value: e.Value.text(), At: e.Place})
	}
	return out
}

func buildPort(e Entry) Port {
	number, _ := e.Value.Get("port").integer()
	target, ok := e.Value.Get("targetPort").integer()
	if !ok {
		target = number
	}
	return Port{
		Name: e.Key, At: e.Place, Port: number, TargetPort: target,
		Protocol: cmp.Or(e.Value.Get("protocol").text(), "TCP"),
	}
}

func buildContainer(e Entry) Container {
	n := e.Value
	c := Container{
		Name: e.Key, At: e.Place, Image: n.Get("image").text(), ImageAt: n.Get("image").Place,
		Command: textsOf(n.Get("command")), Args: textsOf(n.Get("args")),
		Limits: amounts(n.Get("resources").entry("limits")), Requests: amounts(n.Get("resources").entry("requests")),
		Liveness: buildProbe(n.entry("livenessProbe")), Readiness: buildProbe(n.entry("readinessProbe")),
	}
	for _, v := range n.Get("variables").sorted() {
		c.Variables = append(c.Variables, Variable{Name: v.Key, Value: v.Value.text(), At: v.Value.Place})
	}
	for _, m := range mounts(n.Get("files")) {
		c.Files = append(c.Files, buildFile(m))
	}
	for _, m := range mounts(n.Get("volumes")) {
		c.Volumes = append(c.Volumes, Volume{
			Target: m.Key, At: m.Place, Source: m.Value.Get("source").text(), SourceAt: m.Value.Get("source").Place,
			Path: m.Value.Get("path").text(), ReadOnly: m.Value.Get("readOnly").isTrue(),
		})
	}
	for _, b := range n.Get("before").sorted() {
		c.Before = append(c.Before, Before{Container: b.Key, At: b.Place, Ready: b.Value.Get("ready").text()})
	}
	return c
}

func (n *Node) isTrue() bool { return n != nil && n.Kind == Bool && n.Text == "true" }

// textsOf returns the strings of a list, nil if there is none.
func textsOf(n *Node) []string {
	if n == nil {
		return nil
	}
	out := make([]string, len(n.Items))
	for i, item := range n.Items {
		out[i] = item.text()
	}
	return out
}

// mounts returns files or volumes by target, from the map form and from the list form; an item of a list without a
// target has the key "".
func mounts(n *Node) []Entry {
	if n == nil || n.Kind != List {
		return n.sorted()
	}
	out := make([]Entry, len(n.Items))
	for i, item := range n.Items {
		out[i] = Entry{Place: item.Place, Value: item}
		if target := item.Get("target"); target != nil {
			out[i].Key, out[i].Place = target.text(), target.Place
		}
	}
	slices.SortStableFunc(out, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

func buildFile(m Entry) File {
	f := File{Target: m.Key, At: m.Place, Mode: m.Value.Get("mode").text(), NoExpand: m.Value.Get("noExpand").isTrue()}
	if n := m.Value.Get("source"); n != nil {
		f.Source, f.ContentAt = n.text(), n.Place
	}
	if n := m.Value.Get("content"); n != nil {
		content := n.text()
		f.Content, f.ContentAt = &content, n.Place
	}
	if n := m.Value.Get("binaryContent"); n != nil {
		f.Binary, f.ContentAt = decode(n.text()), n.Place
	}
	return f
}

// decode returns what base64 stands for; that it is base64 was checked before.
func decode(s string) []byte {
	out, err := base64.StdEncoding.DecodeString(s)
	if err != nil || out == nil {
		return []byte{}
	}
	return out
}

func amounts(e *Entry) Amounts {
	if e == nil {
		return Amounts{}
	}
	cpu, memory := e.Value.Get("cpu"), e.Value.Get("memory")
	return Amounts{CPU: cpu.text(), Memory: memory.text(), CPUAt: cpu.place(), MemoryAt: memory.place(), At: e.Place}
}

func buildProbe(e *Entry) *Probe {
	if e == nil {
		return nil
	}
	p := &Probe{At: e.Place}
	if get := e.Value.entry("httpGet"); get != nil {
		p.HTTPGet = buildHTTPGet(get.Value, get.Place)
	}
	if exec := e.Value.entry("exec"); exec != nil {
		command := exec.Value.Get("command")
		p.Exec = &Exec{Command: textsOf(command), CommandAt: command.Place, At: exec.Place}
	}
	return p
}

func buildHTTPGet(n *Node, at fault.Place) *HTTPGet {
	out := &HTTPGet{
		Host: n.Get("host").text(), Scheme: cmp.Or(n.Get("scheme").text(), "HTTP"), Path: n.Get("path").text(), At: at,
		HostAt: n.Get("host").place(),
	}
	out.Port, _ = n.Get("port").integer()
	if headers := n.Get("httpHeaders"); headers != nil {
		for _, h := range headers.Items {
			name, value := h.Get("name"), h.Get("value")
			out.Headers = append(out.Headers, Header{Name: name.text(), Value: value.text(), NameAt: name.Place, ValueAt: value.Place})
		}
	}
	return out
}
