package recipe

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	"go.yaml.in/yaml/v4"
)

// Sections are the template texts of one provisioner; "" is a section that it does not have.
type Sections struct {
	Init, State, Shared, Outputs, Manifests string
}

// Recipe is a compiled template provisioner. It is safe for concurrent use.
type Recipe struct {
	set *template.Template
	// random is what the templates' random functions draw from; mu lets one evaluation have it at a time, which costs less
	// than a copy of the templates for each.
	mu     sync.Mutex
	random *source
	// UsesServices says that the templates look at the services of other workloads: the result changes with them.
	UsesServices bool
	// Sharing says that the templates keep state that all resources of an environment share.
	Sharing bool
	// usesShared says that the result changes with that state.
	usesShared bool
	digest     [sha256.Size]byte
}

// Input is what the templates of score-k8s know about a resource; the keys are theirs.
type Input struct {
	Uid, Guid, Type, Class, Id string
	// Params and Metadata come from the Score file; placeholders in Params are resolved.
	Params, Metadata map[string]any
	// State is what the resource's state section gave the last time, Shared what all shared sections gave.
	State, Shared map[string]any
	// SourceWorkload is the workload that declared the resource first.
	SourceWorkload   string
	WorkloadMetadata map[string]any
	// WorkloadServices are the services of every workload of the environment, by workload.
	WorkloadServices map[string]Service
	Namespace        string
	// Seed decides all random values.
	Seed [32]byte `json:"-"`
	// Init is set by the evaluation.
	Init map[string]any
}

// Service is how a workload is reached inside the environment.
type Service struct {
	ServiceName string
	// Ports by name, and by number where no port has that name.
	Ports map[string]Port
}

// Port is one port of a Service.
type Port struct {
	Name             string
	Port, TargetPort int
	Protocol         string
}

// Result is what an evaluation gives.
type Result struct {
	State     map[string]any   `json:"state,omitempty"`
	Outputs   map[string]any   `json:"outputs,omitempty"`
	Manifests []map[string]any `json:"manifests,omitempty"`
	// Shared is what all resources of the environment share, with what this one adds.
	Shared map[string]any `json:"-"`
}

// Error says in which section of the templates something is wrong.
type Error struct {
	Section string
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Section, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// outputLimit is the largest text that one section may render, in bytes: a Kubernetes object has at most 1.5 MiB.
const outputLimit = 4 << 20

// timeLimit is how long the sections of one resource may take together: a thousandth of it is usual, and all applications
// of an environment wait. It is looked at whenever something is rendered.
const timeLimit = 5 * time.Second

var (
	errTooLong = fmt.Errorf("renders more than %d bytes", outputLimit)
	errTooSlow = fmt.Errorf("takes longer than %v", timeLimit)
)

// Compile parses the sections. A section that is not a template, or calls a function that does not exist here, is an
// [*Error].
func Compile(s Sections) (*Recipe, error) {
	r := &Recipe{random: &source{}, Sharing: s.Shared != "", usesShared: s.Shared != "", digest: s.digest()}
	r.set = template.New("").Funcs(functions(r.random))
	for _, section := range []struct{ name, text string }{
		{"init", s.Init}, {"state", s.State}, {"shared", s.Shared}, {"outputs", s.Outputs}, {"manifests", s.Manifests},
	} {
		if section.text == "" {
			continue
		}
		t, err := r.set.New(section.name).Parse(section.text)
		if err != nil {
			return nil, &Error{section.name, err}
		}
		// The printed form of a tree names every field in it; a name inside a string costs a little speed only.
		text := t.Root.String()
		r.UsesServices = r.UsesServices || strings.Contains(text, ".WorkloadServices")
		r.usesShared = r.usesShared || strings.Contains(text, ".Shared")
	}
	return r, nil
}

// Run evaluates the sections in the order init, state, shared, outputs, manifests. Values in the input's Params,
// Metadata and WorkloadMetadata are not trusted; one that changes the structure of what is rendered is a
// [*ShapeError].
func (r *Recipe) Run(in Input) (*Result, error) {
	result, err := r.run(in)
	if err != nil {
		return nil, err
	}
	if err := r.guard(in, result); err != nil {
		return nil, err
	}
	return result, nil
}

func (r *Recipe) run(in Input) (*Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.random.start(in.Seed)
	result, deadline := &Result{}, time.Now().Add(timeLimit)
	// Functions such as set change the maps that they are given: they get copies.
	in.State, in.Shared = copied(in.State), copied(in.Shared)
	in.Params, in.Metadata, in.WorkloadMetadata = copied(in.Params), copied(in.Metadata), copied(in.WorkloadMetadata)
	steps := []struct {
		section string
		into    any
		then    func()
	}{
		{"init", &in.Init, func() {}},
		{"state", &result.State, func() { in.State = result.State }},
		{"shared", &result.Shared, func() { in.Shared = merge(in.Shared, result.Shared); result.Shared = in.Shared }},
		{"outputs", &result.Outputs, func() {}},
		{"manifests", &result.Manifests, func() {}},
	}
	for _, step := range steps {
		if t := r.set.Lookup(step.section); t != nil {
			if err := render(t, in, step.into, deadline); err != nil {
				return nil, &Error{step.section, err}
			}
		}
		step.then()
	}
	return result, nil
}

// copied returns a deep copy of a map; that of nil is empty.
func copied(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = copyOf(v)
	}
	return out
}

func copyOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return copied(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = copyOf(item)
		}
		return out
	default:
		return v
	}
}

func render(t *template.Template, in Input, into any, deadline time.Time) error {
	out := limitedBuffer{deadline: deadline}
	if err := t.Execute(&out, in); err != nil {
		var exec template.ExecError
		if errors.As(err, &exec) && errors.Unwrap(exec.Err) != nil {
			return errors.Unwrap(exec.Err)
		}
		return err
	}
	if err := load(&out, into); err != nil {
		return fmt.Errorf("what the template renders is not the YAML that is wanted: %w", err)
	}
	return nil
}

var errManyDocuments = errors.New("it has more than one document")

// load reads one YAML document. A text without any, such as a comment alone, leaves into as it is.
func load(text io.Reader, into any) error {
	loader, err := yaml.NewLoader(text, yaml.WithV3Defaults())
	if err != nil {
		return err
	}
	if err := loader.Load(into); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	if err := loader.Load(new(any)); err == nil {
		return errManyDocuments
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

type limitedBuffer struct {
	bytes.Buffer
	deadline time.Time
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > outputLimit {
		return 0, errTooLong
	}
	if time.Now().After(b.deadline) {
		return 0, errTooSlow
	}
	return b.Buffer.Write(p)
}

// merge returns base with patch over it, in the way of RFC 7386: maps are merged, null deletes, all else replaces.
func merge(base, patch map[string]any) map[string]any {
	out := make(map[string]any, len(base)+len(patch))
	for k, v := range base {
		out[k] = v
	}
	for k, v := range patch {
		below, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap:
			old, _ := out[k].(map[string]any)
			out[k] = merge(old, below)
		default:
			out[k] = v
		}
	}
	return out
}

// keysOf returns the sorted keys of a map.
func keysOf(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
