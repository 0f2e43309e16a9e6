package planner

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner/kubernetes"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/score"
	"github.com/innominatus/reconciler/pkg/secret"
)

// value returns what a placeholder's path means.
func (b *builder) value(p []string) (any, error) {
	switch {
	case p[0] == "metadata":
		n := b.w.Metadata.Lookup(p[1:]...)
		if n == nil {
			return nil, fault.New(fault.ScorePlaceholder, "${%s} is not in the workload's metadata", strings.Join(p, "."))
		}
		return plain(n), nil
	case p[0] == "resources" && len(p) > 2:
		if b.toldMissing(p[1], p[2]) {
			return "", nil
		}
		return dig(b.outputs[p[1]], p)
	default:
		return nil, fault.New(fault.ScorePlaceholder, "${%s} does not name a value", strings.Join(p, "."))
	}
}

// toldMissing says that a fault tells already why there is no such output.
func (b *builder) toldMissing(resource, output string) bool {
	if b.faults.Err() == nil {
		return false
	}
	if _, provisioned := b.outputs[resource]; !provisioned {
		return true
	}
	r, _ := b.w.Resource(resource)
	names, known := b.promised(r)
	return known && !slices.Contains(names, output)
}

func dig(outputs map[string]any, p []string) (any, error) {
	var at any = outputs
	for _, key := range p[2:] {
		m, isMap := at.(map[string]any)
		next, there := m[key]
		if !isMap || !there {
			return nil, fault.New(fault.ScorePlaceholder, "${%s}: resource %s has no such output", strings.Join(p, "."), p[1])
		}
		at = next
	}
	return at, nil
}

// text replaces the placeholders of a text, with references to secrets in their encoded form.
func (b *builder) text(s string, at fault.Place) string {
	out, err := score.Expand(s, func(p []string) (string, error) {
		v, err := b.value(p)
		return asText(v), err
	})
	if err != nil {
		b.note(err, at)
	}
	return out
}

func (b *builder) note(err error, at fault.Place) {
	for _, f := range fault.Of(err) {
		if f.Place == (fault.Place{}) {
			f.Place = at
		}
		b.faults = append(b.faults, f)
	}
}

func asText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v) // values come from YAML and JSON, which marshal
	}
	return string(text)
}

// resolve replaces the placeholders of a text and cuts it at references to secrets. Only what outputs hold is taken for
// such a reference: a Score file that writes one itself would read Secrets that are not its own.
func (b *builder) resolve(s string, at fault.Place) ([]kubernetes.Part, error) {
	var parts []kubernetes.Part
	add := func(p kubernetes.Part) {
		if n := len(parts); n > 0 && p.Secret == nil && parts[n-1].Secret == nil {
			parts[n-1].Text += p.Text
			return
		}
		parts = append(parts, p)
	}
	for _, piece := range score.Parse(s) {
		if piece.Path == nil {
			add(kubernetes.Part{Text: piece.Literal})
			continue
		}
		v, err := b.value(piece.Path)
		if err != nil {
			return nil, err
		}
		for _, found := range recipe.SplitSecrets(asText(v)) {
			if found.Secret == "" {
				add(kubernetes.Part{Text: found.Text})
				continue
			}
			ref := kubernetes.SecretRef{Name: found.Secret, Key: found.Key}
			b.use(ref)
			add(kubernetes.Part{Secret: &ref})
		}
	}
	return parts, nil
}

// volume returns the outputs of the resource that a volume's source names.
func (b *builder) volume(source string, _ fault.Place) (string, map[string]any, error) {
	parts := score.Parse(source)
	if len(parts) == 1 && len(parts[0].Path) == 2 && parts[0].Path[0] == "resources" {
		name := parts[0].Path[1]
		if _, provisioned := b.outputs[name]; !provisioned && b.faults.Err() != nil {
			// It is told already why the resource is not there, and no release comes of it: any volume will do.
			return name, map[string]any{"source": map[string]any{"emptyDir": map[string]any{}}}, nil
		}
		return name, b.outputs[name], nil
	}
	f := fault.New(fault.RenderVolume, "the source of a volume must be ${resources.NAME}, got %q", source)
	if _, ok := b.w.Resource(source); ok {
		f.Suggest("${resources." + source + "}")
	}
	return "", nil, f
}

// source reads a file that the workload names by a path relative to its Score file.
func (b *builder) source(name string, at fault.Place) ([]byte, error) {
	if path.IsAbs(name) {
		return nil, fault.New(fault.FileMissing, "files.source must be relative to the Score file, got %q", name).At(at)
	}
	full := path.Join(path.Dir(b.w.File), name)
	if full == ".." || strings.HasPrefix(full, "../") {
		return nil, fault.New(fault.FileMissing, "files.source %q leads out of the repository", name).At(at)
	}
	content, err := b.Source(full)
	if err != nil {
		if f, ok := fault.As(err); ok && f.Class() != fault.Permanent {
			return nil, err
		}
		return nil, fault.New(fault.FileMissing, "files.source %q: %w", name, err).At(at)
	}
	return content, nil
}

// display returns outputs as people may see them.
func display(outputs map[string]any) map[string]string {
	if len(outputs) == 0 {
		return nil
	}
	out := map[string]string{}
	for name, v := range outputs {
		var text strings.Builder
		for _, found := range recipe.SplitSecrets(asText(v)) {
			if found.Secret != "" {
				text.WriteString(secret.Mask)
			} else {
				text.WriteString(found.Text)
			}
		}
		out[name] = text.String()
	}
	return out
}
