package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

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
