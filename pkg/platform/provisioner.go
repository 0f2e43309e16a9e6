package platform

import (
	"fmt"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
)

// Provisioner is a recipe that fulfils a Score resource. It is read from the format of score-k8s' provisioner files;
// static provisioners and the key stateful are ours.
type Provisioner struct {
	// URI names the provisioner; its scheme is its kind: template or static.
	URI string `yaml:"uri,required"`
	// Type is the resource type that it fulfils.
	Type string `yaml:"type,required"`
	// Class and ID restrict it further; "" takes any.
	Class       string `yaml:"class"`
	ID          string `yaml:"id"`
	Description string `yaml:"description"`
	// SupportedParams are the params that a Score file may give; nil takes any.
	SupportedParams []string `yaml:"supported_params"`
	// ExpectedOutputs are the outputs that placeholders may name; nil takes any.
	ExpectedOutputs []string `yaml:"expected_outputs"`
	// Init, State, Shared and Manifests are templates of a template provisioner, evaluated in this order.
	Init      string `yaml:"init"`
	State     string `yaml:"state"`
	Shared    string `yaml:"shared"`
	Manifests string `yaml:"manifests"`
	// Outputs is a template (text) for a template provisioner, and a map of values for a static one, where a value
	// {secretRef: {name: …, key: …}} stands for a key of a Kubernetes Secret that exists already.
	Outputs any `yaml:"outputs"`
	// Stateful says that deleting the resource loses data. Not set: decided by what its manifests hold.
	Stateful *bool `yaml:"stateful"`
	// Args belongs to cmd provisioners, which are refused; it is read so that the refusal is the one thing reported.
	Args []string `yaml:"args"`
	At   fault.Place

	// Recipe holds the compiled templates of a template provisioner.
	Recipe *recipe.Recipe
}

// Kind is the scheme of the URI.
func (p *Provisioner) Kind() string {
	kind, _, _ := strings.Cut(p.URI, "://")
	return kind
}

// Matches says whether the provisioner fulfils resources of a type, class ("default" if the file has none) and id.
func (p *Provisioner) Matches(kind, class, id string) bool {
	return p.Type == kind && (p.Class == "" || p.Class == class) && (p.ID == "" || p.ID == id)
}

// Allows reports whether the Score file may give a param. A static provisioner has no use for any.
func (p *Provisioner) Allows(param string) bool {
	return p.SupportedParams == nil && p.Kind() != "static" || oneOf(param, p.SupportedParams...)
}

// StaticOutputs returns the outputs of a static provisioner, with references to Secrets in their encoded form.
func (p *Provisioner) StaticOutputs() (map[string]any, error) {
	values, _ := p.Outputs.(map[string]any)
	out := make(map[string]any, len(values))
	for name, value := range values {
		outer, _ := value.(map[string]any)
		ref, isRef := outer["secretRef"].(map[string]any)
		if !isRef {
			out[name] = value
			continue
		}
		secret, _ := ref["name"].(string)
		key, _ := ref["key"].(string)
		encoded, err := recipe.SecretRef(secret, key)
		if err != nil || len(ref) != 2 {
			return nil, fmt.Errorf("output %s: a secretRef needs name and key, and nothing else", name)
		}
		out[name] = encoded
	}
	return out, nil
}

// check validates the provisioner and compiles its templates.
func (p *Provisioner) check(source []byte) (faults fault.List) {
	bad := func(code fault.Code, format string, args ...any) *fault.Fault {
		f := fault.New(code, format, args...).At(p.At).Show(source)
		faults = append(faults, f)
		return f
	}
	switch {
	case p.URI == "" || p.Type == "": // reported as missing by the decoder
	case p.Kind() == "template":
		outputs, isText := p.Outputs.(string)
		if p.Outputs != nil && !isText {
			bad(fault.ProvisionerShape, "outputs of a template provisioner must be a template (text)")
		}
		compiled, err := recipe.Compile(recipe.Sections{
			Init: p.Init, State: p.State, Shared: p.Shared, Outputs: outputs, Manifests: p.Manifests,
		})
		if err != nil {
			bad(fault.ProvisionerTemplate, "provisioner %s: %w", p.URI, err)
		}
		p.Recipe = compiled
	case p.Kind() == "static":
		if _, isMap := p.Outputs.(map[string]any); p.Outputs != nil && !isMap {
			bad(fault.ProvisionerShape, "outputs of a static provisioner must be a map of values")
		} else if given, err := p.StaticOutputs(); err != nil {
			bad(fault.ProvisionerShape, "provisioner %s: %w", p.URI, err)
		} else if p.Type != "environment" {
			for _, name := range p.ExpectedOutputs {
				if _, there := given[name]; !there {
					bad(fault.ProvisionerShape, "provisioner %s promises the output %q and does not have it", p.URI, name)
				}
			}
		}
		if p.Init+p.State+p.Shared+p.Manifests != "" {
			bad(fault.ProvisionerShape, "a static provisioner has outputs only; init, state, shared and manifests belong to template provisioners")
		}
	case p.Kind() == "cmd":
		bad(fault.ProvisionerScheme, "provisioner %s would run a program; cmd:// is not supported", p.URI)
	default:
		bad(fault.ProvisionerScheme, "provisioner %s has an unknown kind", p.URI).Suggest(fault.Nearest(p.Kind(), []string{"template", "static"}))
	}
	return faults
}
