package recipe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Record is an evaluation as it is stored. It holds secrets.
type Record struct {
	// Inputs is the digest of what the evaluation depends on, "" if the result may not be used again.
	Inputs string `json:"inputs,omitempty"`
	// Result is a [Result] as JSON, without what all resources share.
	Result json.RawMessage `json:"result"`
}

// Evaluate returns what the templates give for an input, and the record of it. If last, the record of an earlier
// evaluation, was made of the same, it is what comes back: nothing is evaluated. Errors are those of [Recipe.Run].
func (r *Recipe) Evaluate(in Input, last Record) (*Result, Record, error) {
	inputs, err := r.inputs(in)
	if err != nil {
		return nil, last, err
	}
	if inputs != "" && inputs == last.Inputs {
		result, err := last.Read()
		return result, last, err
	}
	fresh, err := r.Run(in)
	if err != nil {
		return nil, last, err
	}
	// What is used now is what will be read again, to the type of each value.
	now := Record{Inputs: inputs}
	if now.Result, err = json.Marshal(fresh); err != nil {
		return nil, last, fmt.Errorf("write what the templates give: %w", err)
	}
	result, err := now.Read()
	if err == nil && r.Sharing {
		result.Shared = fresh.Shared
	}
	return result, now, err
}

// version counts the changes of this package after which the same templates and inputs give another result.
const version = 1

// inputs returns the digest of what a result depends on. The stored state is not part of it: it is what the same inputs
// gave before. What all resources share changes with each of them, so a result that depends on it has no digest.
func (r *Recipe) inputs(in Input) (string, error) {
	if r.usesShared {
		return "", nil
	}
	sum := sha256.New()
	sum.Write(r.digest[:])
	sum.Write(in.Seed[:])
	if r.UsesServices {
		writeServices(sum, in.WorkloadServices)
	}
	in.State, in.Shared, in.Init, in.WorkloadServices = nil, nil, nil, nil
	if err := json.NewEncoder(sum).Encode(in); err != nil {
		return "", fmt.Errorf("write what the templates are given: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// writeServices writes all services: templates may look at any of them. There may be hundreds, for each resource, which
// is why this is not left to encoding/json.
func writeServices(to hash.Hash, services map[string]Service) {
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(services)) {
		text = strconv.AppendQuote(text, name)
		text = strconv.AppendQuote(text, services[name].ServiceName)
		for _, port := range slices.Sorted(maps.Keys(services[name].Ports)) {
			p := services[name].Ports[port]
			for _, word := range []string{port, p.Name, p.Protocol} {
				text = strconv.AppendQuote(text, word)
			}
			text = strconv.AppendInt(append(text, ' '), int64(p.Port), 10)
			text = strconv.AppendInt(append(text, ' '), int64(p.TargetPort), 10)
		}
		text = append(text, '\n')
	}
	to.Write(text)
}

func (s Sections) digest() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %q", version, []string{s.Init, s.State, s.Shared, s.Outputs, s.Manifests}))
}

// Read returns the result that a record holds; that of the zero record is empty.
func (r Record) Read() (*Result, error) {
	out := &Result{}
	if len(r.Result) == 0 {
		return out, nil
	}
	if err := decode(r.Result, out); err != nil {
		return nil, fmt.Errorf("read what the templates gave: %w", err)
	}
	exact(out.State)
	exact(out.Outputs)
	for _, m := range out.Manifests {
		exact(m)
	}
	return out, nil
}

// Decode reads a JSON object. Numbers become what YAML makes of them, so that templates print 1000000 and not 1e+06.
func Decode(text []byte) (map[string]any, error) {
	var out map[string]any
	if err := decode(text, &out); err != nil {
		return nil, err
	}
	exact(out)
	return out, nil
}

func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

func exact(m map[string]any) {
	for k, v := range m {
		m[k] = exactValue(v)
	}
}

func exactValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		exact(v)
	case []any:
		for i, item := range v {
			v[i] = exactValue(item)
		}
	case json.Number:
		return Number(v.String())
	}
	return v
}

// Number returns a number as templates know it: one without a fraction is an int, so that they print 8080 and not 8080.0
// or 8.08e+03, others are a float64, and one that no int holds stays as it is written.
func Number(text string) any {
	if i, err := strconv.Atoi(text); err == nil {
		return i
	}
	f, err := strconv.ParseFloat(text, 64)
	if i := int(f); err == nil && float64(i) == f && strings.ContainsAny(text, ".eE") {
		return i
	}
	if err != nil || !strings.ContainsAny(text, ".eE") {
		return json.Number(text)
	}
	return f
}
