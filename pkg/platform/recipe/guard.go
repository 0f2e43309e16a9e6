package recipe

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// ShapeError says that a value from an application repository would change the structure of rendered YAML.
type ShapeError struct {
	// Path leads to the value, for example params.host.
	Path []string
}

func (e *ShapeError) Error() string {
	return fmt.Sprintf("the value of %s changes the structure of what the provisioner renders", strings.Join(e.Path, "."))
}

// safe are strings that cannot mean anything in YAML but themselves, wherever a template puts them.
var safe = regexp.MustCompile(`^[A-Za-z0-9_/]([A-Za-z0-9_./@%+=:~-]*[A-Za-z0-9_/=+-])?$`)

// dangerous are the characters that can begin or end something in YAML.
var dangerous = regexp.MustCompile("[\x00-\x1f\u0085\u2028\u2029\"'{}\\[\\],#&!|>`@%\\\\]|:( |$)|^[-?:*~.<=]|^ | $")

// harmless returns a value of the same type and length that means only itself.
func harmless(s string) string {
	return dangerous.ReplaceAllStringFunc(s, func(c string) string { return strings.Repeat("x", len([]rune(c))) })
}

// suspectLimit is the number of values that are tried one by one to name the culprit: each costs an evaluation, and the
// file of an application decides how many there are.
const suspectLimit = 100

// guard renders again with harmless strings in place of those that could change the structure, and compares.
func (r *Recipe) guard(in Input, result *Result) error {
	var suspects [][]string
	untrusted := map[string]any{"params": in.Params, "metadata": in.Metadata, "workload metadata": in.WorkloadMetadata}
	collect(untrusted, nil, &suspects)
	if len(suspects) == 0 {
		return nil
	}
	shapeWith := func(keep []string) (string, error) {
		tame := func(root string, m map[string]any) map[string]any {
			out, _ := tamed(m, []string{root}, keep).(map[string]any)
			return out
		}
		other := in
		other.Params, other.Metadata = tame("params", in.Params), tame("metadata", in.Metadata)
		other.WorkloadMetadata = tame("workload metadata", in.WorkloadMetadata)
		got, err := r.run(other)
		if err != nil {
			return "", err
		}
		return shape(got), nil
	}
	calm, err := shapeWith(nil)
	if err == nil && calm == shape(result) {
		return nil
	}
	for _, suspect := range suspects[:min(len(suspects), suspectLimit)] {
		if with, err := shapeWith(suspect); err != nil || with != calm {
			return &ShapeError{suspect}
		}
	}
	return &ShapeError{suspects[0]}
}

// collect appends the paths of strings below v that are not safe.
func collect(v any, path []string, into *[][]string) {
	switch v := v.(type) {
	case string:
		if v != "" && !safe.MatchString(v) && harmless(v) != v {
			*into = append(*into, slices.Clone(path))
		}
	case map[string]any:
		for _, k := range keysOf(v) {
			if harmless(k) != k {
				*into = append(*into, append(slices.Clone(path), k))
			}
			collect(v[k], append(path, k), into)
		}
	case []any:
		for i, item := range v {
			collect(item, append(path, fmt.Sprint(i)), into)
		}
	}
}

// tamed returns v with harmless strings, but for what is at the path keep.
func tamed(v any, path, keep []string) any {
	kept := slices.Equal(path, keep)
	switch v := v.(type) {
	case string:
		if !kept {
			return harmless(v)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			below := append(slices.Clone(path), k)
			if !slices.Equal(below, keep) {
				k = harmless(k)
			}
			out[k] = tamed(item, below, keep)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = tamed(item, append(slices.Clone(path), fmt.Sprint(i)), keep)
		}
		return out
	}
	return v
}

// shape describes the structure of a result: keys and the kinds of values, without the values. Strings, numbers,
// truth values and null are one kind: which of them plain text becomes is not structure.
func shape(r *Result) string {
	var b strings.Builder
	for _, part := range []any{r.State, r.Shared, r.Outputs} {
		describe(&b, part)
	}
	for _, m := range r.Manifests {
		describe(&b, m)
		// What an object is and what it is called are structure too: no param decides them by accident of quoting.
		fmt.Fprintf(&b, "%v/%v", m["apiVersion"], m["kind"])
	}
	return b.String()
}

func describe(b *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for _, k := range keysOf(v) {
			fmt.Fprintf(b, "%q:", harmless(k))
			describe(b, v[k])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for _, item := range v {
			describe(b, item)
			b.WriteByte(',')
		}
		b.WriteByte(']')
	default:
		if v != nil && reflect.TypeOf(v).Kind() == reflect.Map {
			b.WriteString("{?}")
		}
		b.WriteByte('.')
	}
}
