package golden

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Values are what expressions see, by their whole names: "application", "steps.smoke.status".
type Values map[string]any

// With returns the values with more of them under a prefix: With("each.", item).
func (v Values) With(prefix string, more map[string]any) Values {
	out := maps.Clone(v)
	for name, value := range more {
		out[prefix+name] = value
	}
	return out
}

// Skips says whether a step is to be left out.
func (s *Step) Skips(values Values) (bool, error) {
	if s.when == nil {
		return false, nil
	}
	v, err := s.when.evaluate(values)
	if err != nil {
		return false, err
	}
	is, ok := v.(bool)
	if !ok {
		return false, fault.New(fault.PathValue, "%s is %s, want boolean", s.When, describe(v))
	}
	return !is, nil
}

// Item is one of those that a step runs for.
type Item struct {
	Key   any `json:"key"`
	Value any `json:"value"`
}

// Each are the names that the item's step knows it by.
func (i Item) Each() map[string]any { return map[string]any{"key": i.Key, "value": i.Value} }

// Items are what a step with for_each runs for: those of a list in its order, those of a map in the order of its keys.
func (s *Step) Items(values Values) ([]Item, error) {
	v, err := s.forEach.evaluate(values)
	if err != nil {
		return nil, err
	}
	var list []Item
	switch v := v.(type) {
	case []any:
		for i, value := range v {
			list = append(list, Item{int64(i), value})
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			list = append(list, Item{key, v[key]})
		}
	default:
		return nil, fault.New(fault.PathValue, "%s is %s, want array or object", s.ForEach, describe(v))
	}
	if len(list) > EachLimit {
		return nil, fault.New(fault.PathValue, "%s has %d items, more than the limit of %d", s.ForEach, len(list), EachLimit)
	}
	return list, nil
}

// Parameters are what a step gives to the path that it uses, with that one's defaults.
func (s *Step) Parameters(used *Path, values Values) (map[string]any, error) {
	given, err := s.with.evaluate(values)
	if err != nil {
		return nil, err
	}
	out := given.(map[string]any) //nolint:forcetypeassert // a map of values gives one
	for id, p := range used.Params {
		v, ok := out[id]
		if !ok {
			v = p.Default
		}
		if out[id], err = (kind{name: p.Type}).fit(v); err != nil {
			return nil, fault.New(fault.PathValue, "param %s of path %s: %w", id, used.Name, err)
		}
	}
	return out, nil
}

// Request is what an http step sends.
type Request struct {
	Method, URL string
	Headers     map[string]string
	// Body is JSON, or nil.
	Body []byte
}

// Request returns what is to be sent.
func (h *HTTP) Request(values Values) (r Request, err error) {
	r = Request{Method: h.Method, Headers: map[string]string{}}
	if r.URL, err = h.url.join(values); err != nil {
		return r, err
	}
	headers, err := h.headers.evaluate(values)
	if err != nil {
		return r, err
	}
	for name, v := range headers.(map[string]any) { //nolint:forcetypeassert // a map of values gives one
		if r.Headers[name], err = write(v); err != nil {
			return r, fault.New(fault.PathValue, "header %s: %w", name, err)
		}
	}
	if h.body != nil {
		body, err := h.body.evaluate(values)
		if err != nil {
			return r, err
		}
		if r.Body, err = json.Marshal(body); err != nil {
			return r, fault.New(fault.PathValue, "body: %w", err)
		}
	}
	return r, nil
}

// Response is the answer to a request.
type Response struct {
	Status  int
	Headers map[string]string
	// Body is what its JSON says, or its text.
	Body any
}

func (r Response) values() map[string]any {
	return map[string]any{"status": int64(r.Status), "headers": r.Headers, "body": plain(r.Body)}
}

// Accepts says whether an answer is what was expected.
func (h *HTTP) Accepts(values Values, r Response) (bool, error) {
	if h.expect == nil {
		return r.Status >= 200 && r.Status < 300, nil
	}
	v, err := h.expect.evaluate(values.With("response.", r.values()))
	if err != nil {
		return false, err
	}
	is, ok := v.(bool)
	if !ok {
		return false, fault.New(fault.PathValue, "%s is %s, want boolean", h.Expect, describe(v))
	}
	return is, nil
}

// Results are the outputs of an http step.
func (s *Step) Results(values Values, r Response) (map[string]any, error) {
	out, err := evaluate(s.Outputs, values.With("response.", r.values()))
	if err == nil {
		out["status"] = int64(r.Status)
	}
	return out, err
}

// Results are the outputs of a path whose steps are done.
func (p *Path) Results(values Values) (map[string]any, error) { return evaluate(p.Outputs, values) }

func evaluate(outputs map[string]*Output, values Values) (map[string]any, error) {
	out := make(map[string]any, len(outputs)+1)
	for _, id := range slices.Sorted(maps.Keys(outputs)) {
		v, err := outputs[id].value.evaluate(values)
		if err != nil {
			return nil, err
		}
		if out[id], err = (kind{name: outputs[id].Type}).fit(v); err != nil {
			return nil, fault.New(fault.PathValue, "output %s: %w", id, err)
		}
	}
	return out, nil
}

// Question is what an approval asks people.
func (a *Approval) Question(values Values) (string, error) { return a.text.join(values) }

// Nothing are the outputs of a step that gave none.
func (set Set) Nothing(s *Step) map[string]any {
	out := map[string]any{}
	for id, k := range set.gives(s) {
		out[id] = k.zero()
	}
	return out
}

// Done returns what later steps see of a step: given are its outputs, those of each item if it has for_each, and none if it
// was skipped.
func (set Set) Done(s *Step, given ...map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for id, k := range set.gives(s) {
		name := "steps." + s.ID + "." + id
		if s.ForEach == "" {
			v := k.zero()
			if len(given) > 0 {
				v = given[0][id]
			}
			fitting, err := k.fit(v)
			if err != nil && k != anything {
				return nil, fmt.Errorf("output %s of step %s: %w", id, s.ID, err)
			}
			out[name] = fitting
			continue
		}
		list := make([]any, 0, len(given))
		for _, item := range given {
			v, err := k.fit(item[id])
			if err != nil {
				return nil, fmt.Errorf("output %s of step %s: %w", id, s.ID, err)
			}
			list = append(list, v)
		}
		out[name] = list
	}
	return out, nil
}
