package golden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// kind is a type of values: one of JSON Schema, with what an array or an object holds, or any.
type kind struct {
	name string
	of   *kind // of arrays and objects; nil is any
}

var anything = kind{name: "any"}

// kinds are the types that people may write, with CEL's type and the value of nothing.
var kinds = map[string]struct {
	cel  *cel.Type
	zero any
}{
	"string":  {cel.StringType, ""},
	"integer": {cel.IntType, int64(0)},
	"number":  {cel.DoubleType, 0.0},
	"boolean": {cel.BoolType, false},
	"array":   {cel.ListType(cel.DynType), []any{}},
	"object":  {cel.MapType(cel.StringType, cel.DynType), map[string]any{}},
}

func listOf(k kind) kind { return kind{name: "array", of: &k} }

// cel returns CEL's type.
func (k kind) cel() *cel.Type {
	inner := cel.DynType
	if k.of != nil {
		inner = k.of.cel()
	}
	switch k.name {
	case "array":
		return cel.ListType(inner)
	case "object":
		return cel.MapType(cel.StringType, inner)
	case "any":
		return cel.DynType
	default:
		return kinds[k.name].cel
	}
}

// kindOf returns the kind of a type of CEL.
func kindOf(t *cel.Type) kind {
	parameter := func(i int) *kind {
		if len(t.Parameters()) <= i {
			return nil
		}
		k := kindOf(t.Parameters()[i])
		return &k
	}
	switch t.Kind() {
	case types.StringKind:
		return kind{name: "string"}
	case types.IntKind, types.UintKind:
		return kind{name: "integer"}
	case types.DoubleKind:
		return kind{name: "number"}
	case types.BoolKind:
		return kind{name: "boolean"}
	case types.ListKind:
		return kind{name: "array", of: parameter(0)}
	case types.MapKind:
		return kind{name: "object", of: parameter(1)}
	default:
		return anything
	}
}

// zero is the value of nothing.
func (k kind) zero() any { return kinds[k.name].zero }

// takes says whether a value of another kind may stand where this one is wanted.
func (k kind) takes(other kind) bool {
	switch {
	case k.name == "any" || other.name == "any", k.name == "number" && other.name == "integer":
		return true
	case k.name != other.name:
		return false
	case k.of == nil || other.of == nil:
		return true
	default:
		return k.of.takes(*other.of)
	}
}

// String returns the name that people write.
func (k kind) String() string { return k.name }

// fit returns a value that came from JSON or YAML as this kind has it, or says that it is another one.
func (k kind) fit(v any) (any, error) {
	v = plain(v)
	switch n := v.(type) {
	case float64:
		if whole := math.Trunc(n); k.name == "integer" && whole == n && math.Abs(n) < 1<<53 {
			return int64(n), nil
		}
	case int64:
		if k.name == "number" {
			return float64(n), nil
		}
	}
	if k.name == "any" {
		return v, nil
	}
	if reflect.TypeOf(v) != reflect.TypeOf(k.zero()) {
		return nil, fmt.Errorf("it is %s, want %s", describe(v), k)
	}
	return v, nil
}

// describe names a plain value's kind.
func describe(v any) string {
	for name, k := range kinds {
		if reflect.TypeOf(v) == reflect.TypeOf(k.zero) {
			return name
		}
	}
	return "nothing"
}

// Decode reads JSON as expressions have it: whole numbers stay whole.
func Decode(text []byte, into *any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	*into = plain(*into)
	return nil
}

// plain brings numbers into the two types that CEL has for them, and maps and lists into those of JSON.
func plain(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case uint64:
		return int64(min(v, math.MaxInt64))
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // a number of JSON is one
		return f
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = plain(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = plain(item)
		}
		return out
	default:
		return v
	}
}

// native returns what an expression gave as a plain value.
func native(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Uint:
		return int64(min(uint64(v), math.MaxInt64)), nil
	case types.Duration, types.Timestamp:
		text := v.ConvertToType(types.StringType)
		return text.Value(), nil
	}
	switch v.Type() {
	case types.ListType:
		converted, err := v.ConvertToNative(reflect.TypeFor[[]any]())
		if err != nil {
			return nil, err
		}
		return deep(converted)
	case types.MapType:
		converted, err := v.ConvertToNative(reflect.TypeFor[map[string]any]())
		if err != nil {
			return nil, err
		}
		return deep(converted)
	default:
		return plain(v.Value()), nil
	}
}

// deep turns values of CEL inside of a list or a map into plain ones.
func deep(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case ref.Val:
		return native(v)
	case []any:
		for i := range v {
			if v[i], err = deep(v[i]); err != nil {
				return nil, err
			}
		}
		return v, nil
	case map[string]any:
		for key := range v {
			if v[key], err = deep(v[key]); err != nil {
				return nil, err
			}
		}
		return v, nil
	default:
		return plain(v), nil
	}
}
