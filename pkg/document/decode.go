package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Decode reads the one YAML document of a file into a pointer to a struct, a slice or a map. An empty file leaves it
// as it is.
//
// Struct fields are named by their yaml tag ("name" or "name,required"). A field At of type [fault.Place] is set to
// the place of the value. Unknown and repeated keys, missing required ones and values of a wrong type are faults;
// what could be read is set all the same, so that a caller can go on looking for more.
func Decode(file string, data []byte, into any) fault.List {
	d := decoder{file: file, source: data}
	reader := yaml.NewDecoder(bytes.NewReader(data))
	var root yaml.Node
	if err := reader.Decode(&root); err != nil {
		if !errors.Is(err, io.EOF) {
			d.syntax(err)
		}
		return d.faults
	}
	if err := reader.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		d.report(fault.ConfigSyntax, &yaml.Node{Line: root.Line}, "the file holds more than one YAML document")
		return d.faults
	}
	if len(root.Content) == 1 {
		d.value(root.Content[0], reflect.ValueOf(into).Elem(), "")
	}
	d.faults.Sort()
	return d.faults
}

type decoder struct {
	file   string
	source []byte
	faults fault.List
}

var (
	placeType    = reflect.TypeFor[fault.Place]()
	durationType = reflect.TypeFor[time.Duration]()
)

func (d *decoder) report(code fault.Code, at *yaml.Node, format string, args ...any) *fault.Fault {
	f := fault.New(code, format, args...).At(d.place(at)).Show(d.source)
	d.faults = append(d.faults, f)
	return f
}

func (d *decoder) place(n *yaml.Node) fault.Place {
	return fault.Place{File: d.file, Line: n.Line, Column: d.bytes(n.Line, n.Column)}
}

// bytes turns a column in characters, as the YAML library counts, into one in bytes.
func (d *decoder) bytes(line, column int) int {
	text := d.source
	for ; line > 1; line-- {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	at := 0
	for ; column > 1 && at < len(text) && text[at] != '\n'; column-- {
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	return at + column
}

func (d *decoder) syntax(err error) {
	at := &yaml.Node{}
	var load *yaml.LoadError
	if errors.As(err, &load) {
		at.Line, at.Column = load.Mark.Line, load.Mark.Column
		err = errors.New(load.Message)
	}
	d.report(fault.ConfigSyntax, at, "the file is not YAML: %w", err)
}

// value reads a node into a settable value; path names it in messages.
func (d *decoder) value(n *yaml.Node, into reflect.Value, path string) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.ShortTag() == "!!null" {
		return
	}
	switch t := into.Type(); {
	case t.Kind() == reflect.Pointer:
		if into.IsNil() {
			into.Set(reflect.New(t.Elem()))
		}
		d.value(n, into.Elem(), path)
	case t == durationType:
		d.duration(n, into, path)
	case t.Kind() == reflect.Struct:
		d.structure(n, into, path)
	case t.Kind() == reflect.Map:
		d.mapping(n, into, path)
	case t.Kind() == reflect.Slice:
		d.list(n, into, path)
	case t.Kind() == reflect.Interface:
		var v any
		if err := n.Decode(&v); err != nil {
			d.report(fault.ConfigType, n, "%s cannot be read: %w", path, err)
		} else {
			into.Set(reflect.ValueOf(v))
		}
	default:
		d.scalar(n, into, path)
	}
}

func (d *decoder) structure(n *yaml.Node, into reflect.Value, path string) {
	t := into.Type()
	if at, ok := t.FieldByName("At"); ok && at.Type == placeType {
		into.FieldByIndex(at.Index).Set(reflect.ValueOf(d.place(n)))
	}
	if !d.is(n, yaml.MappingNode, "a map", path) {
		return
	}
	fields, names, required := fieldsOf(t)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		index, known := fields[key.Value]
		switch {
		case !known:
			d.report(fault.ConfigUnknownKey, key, "unknown key %s", join(path, key.Value)).
				Suggest(fault.Nearest(key.Value, names)).Do("Known here: %s.", strings.Join(names, ", "))
		case seen[key.Value]:
			d.report(fault.ConfigSyntax, key, "key %s stands here twice", join(path, key.Value))
		default:
			d.value(n.Content[i+1], into.Field(index), join(path, key.Value))
		}
		seen[key.Value] = true
	}
	for _, name := range required {
		if !seen[name] || empty(n, name) {
			d.report(fault.ConfigMissing, n, "%s is missing", join(path, name))
		}
	}
}

// empty says that a key has no value: null, or a text without a character.
func empty(n *yaml.Node, key string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if value := n.Content[i+1]; n.Content[i].Value == key {
			return value.Kind == yaml.ScalarNode && (value.Value == "" || value.ShortTag() == "!!null")
		}
	}
	return false
}

// fieldsOf returns the index of each field by its YAML name, the names in order, and those that must be there.
func fieldsOf(t reflect.Type) (fields map[string]int, names, required []string) {
	fields = map[string]int{}
	for i := range t.NumField() {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = i
		names = append(names, name)
		if option == "required" {
			required = append(required, name)
		}
	}
	slices.Sort(names)
	return fields, names, required
}

func (d *decoder) mapping(n *yaml.Node, into reflect.Value, path string) {
	if !d.is(n, yaml.MappingNode, "a map", path) {
		return
	}
	t := into.Type()
	if into.IsNil() {
		into.Set(reflect.MakeMap(t))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if !d.is(key, yaml.ScalarNode, "a map with keys of text", path) {
			continue
		}
		if into.MapIndex(reflect.ValueOf(key.Value)).IsValid() {
			d.report(fault.ConfigSyntax, key, "key %s stands here twice", join(path, key.Value))
			continue
		}
		v := reflect.New(t.Elem()).Elem()
		d.value(n.Content[i+1], v, join(path, key.Value))
		into.SetMapIndex(reflect.ValueOf(key.Value), v)
	}
}

func (d *decoder) list(n *yaml.Node, into reflect.Value, path string) {
	if !d.is(n, yaml.SequenceNode, "a list", path) {
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(item, into.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) scalar(n *yaml.Node, into reflect.Value, path string) {
	if !d.is(n, yaml.ScalarNode, "a single value", path) {
		return
	}
	want, err := "", error(nil)
	switch into.Kind() {
	case reflect.String:
		// Numbers and booleans are taken as their text: a version 1.10 or a name 007 means what is written.
		into.SetString(n.Value)
	case reflect.Bool:
		var v bool
		want, err = "true or false", n.Decode(&v)
		into.SetBool(v)
	case reflect.Int, reflect.Int32, reflect.Int64:
		var v int64
		v, err = strconv.ParseInt(n.Value, 10, into.Type().Bits())
		want = "a whole number"
		into.SetInt(v)
	default:
		err, want = errors.ErrUnsupported, "something else"
	}
	if err != nil {
		d.report(fault.ConfigType, n, "%s is %q, want %s", path, n.Value, want)
	}
}

func (d *decoder) duration(n *yaml.Node, into reflect.Value, path string) {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v < 0 {
		d.report(fault.ConfigType, n, "%s is %q, want a duration such as 30s, 5m or 1h30m", path, n.Value)
	}
	into.SetInt(int64(v))
}

func (d *decoder) is(n *yaml.Node, kind yaml.Kind, want, path string) bool {
	if n.Kind != kind {
		if path == "" {
			path = "the document"
		}
		d.report(fault.ConfigType, n, "%s must be %s", path, want)
	}
	return n.Kind == kind
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
