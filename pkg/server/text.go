package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/innominatus/reconciler/pkg/fault"
)

// checkText refuses text that Postgres does not store, wherever in a request's input it is: a NUL, and what is not UTF-8.
// Contents of files are left alone: they are not stored, and whoever reads them tells the place. name is what the value
// is called, "" for the input as a whole.
func checkText(name string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return fault.New(fault.RequestInvalid, "%s holds a NUL or is not UTF-8", name)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return checkText(name, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			tag := v.Type().Field(i).Tag
			word, _, _ := strings.Cut(cmp.Or(tag.Get("path"), tag.Get("query"), tag.Get("json")), ",")
			if err := checkText(cmp.Or(word, name), v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := checkText(name, v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for key, value := range v.Seq2() {
			if err := checkText(name, key); err != nil {
				return err
			}
			if v.Type() == reflect.TypeFor[files]() {
				continue
			}
			if err := checkText(name, value); err != nil {
				return err
			}
		}
	default: // numbers and the like
	}
	return nil
}

// formats are huma's, but for bodies that are not UTF-8, which encoding/json would change without a word, and for numbers
// that do not fit, of which it speaks in Go's words.
func formats() map[string]huma.Format {
	out := maps.Clone(huma.DefaultFormats)
	for name, format := range out {
		read := format.Unmarshal
		format.Unmarshal = func(data []byte, v any) error {
			if !utf8.Valid(data) {
				return errors.New("the text is not UTF-8")
			}
			err := read(data, v)
			if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
				kind, _, _ := strings.Cut(wrong.Value, " ")
				return fmt.Errorf("%s is a %s that does not fit", strings.TrimPrefix(wrong.Field, "."), kind)
			}
			return err
		}
		out[name] = format
	}
	return out
}
