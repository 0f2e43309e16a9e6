package golden

import (
	"slices"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Release is what a step uses to bring the release into its target; it is built in.
const Release = "release"

// Limits of a path. They keep a run's rows, and what a page shows of it, small enough to be read at once.
const (
	// StepLimit is the number of steps of a path.
	StepLimit = 100
	// EachLimit is the number of items of one for_each.
	EachLimit = 1000
	// DepthLimit is how many paths use each other below one another.
	DepthLimit = 5
)

// Defaults of a step.
const (
	// DefaultTimeout bounds one attempt of a step.
	DefaultTimeout = 30 * time.Second
	// DefaultWithin is how long an approval waits for people.
	DefaultWithin = 24 * time.Hour
	// DefaultConcurrency is how many items of a for_each run at once.
	DefaultConcurrency = 5
)

// Path is a golden path. It is immutable, and safe for concurrent use.
type Path struct {
	// Name is the name of its file without .yaml.
	Name string
	file
}

// file is the content of paths/NAME.yaml.
type file struct {
	// Description is for people who choose a path.
	Description string `yaml:"description"`
	// Params are what a step gives that uses the path.
	Params map[string]*Param `yaml:"params"`
	// Steps run when what they need is done; those that need nothing of each other run side by side.
	Steps []*Step `yaml:"steps,required"`
	// Outputs are what a step gives that uses the path; they may refer to all of its steps.
	Outputs map[string]*Output `yaml:"outputs"`
	At      fault.Place
}

// Param is a parameter of a path.
type Param struct {
	// Type is string, integer, number, boolean, array or object.
	Type string `yaml:"type,required"`
	// Description is for people.
	Description string `yaml:"description"`
	// Default is taken if nothing is given; without it, something must be.
	Default any `yaml:"default"`
	At      fault.Place
}

// Step is a node of the graph. It does exactly one of uses, http, approval and wait.
type Step struct {
	// ID names the step: lower-case letters, digits and underscores.
	ID string `yaml:"id,required"`
	// Needs are the steps that must be done before. A step that was skipped is done; its outputs are empty.
	Needs []string `yaml:"needs"`
	// When is a CEL expression; the step is skipped if it is false.
	When string `yaml:"when"`
	// ForEach is a CEL expression of a list or a map: the step runs for each item, as each.key and each.value.
	ForEach string `yaml:"for_each"`
	// Concurrency is how many items of for_each run at once, 1 to 20. Default 5.
	Concurrency int `yaml:"concurrency"`
	// Uses runs another path as this step, or the release that is deployed: "release".
	Uses string `yaml:"uses"`
	// With are the params of the path that is used.
	With map[string]any `yaml:"with"`
	// HTTP sends a request.
	HTTP *HTTP `yaml:"http"`
	// Approval waits until people agree.
	Approval *Approval `yaml:"approval"`
	// Wait lets time pass, at most 24h.
	Wait time.Duration `yaml:"wait"`
	// Timeout bounds one attempt, 1s to 15m. Default 30s.
	Timeout time.Duration `yaml:"timeout"`
	// Retry says how often an http step is tried. Default: 3 attempts, 1s apart at first.
	Retry *Retry `yaml:"retry"`
	// Outputs are what later steps see of an http step.
	Outputs map[string]*Output `yaml:"outputs"`
	// Compensate undoes the step if the run does not succeed after it was done; the last step is undone first.
	Compensate *Compensation `yaml:"compensate"`
	At         fault.Place

	when, forEach *expression
	with          *value
	each          each
}

// HTTP is a request. Each one carries the header Idempotency-Key, which is the same in all attempts of a step and differs
// from those of all other steps and runs.
type HTTP struct {
	// Method is GET, HEAD, POST, PUT, PATCH or DELETE. Default GET.
	Method string `yaml:"method"`
	// URL is where it goes (http or https). ${…} may stand after the host.
	URL string `yaml:"url,required"`
	// Headers of the request; ${…} may stand in the values, also ${secrets.NAME}, a secret of the server's configuration.
	Headers map[string]string `yaml:"headers"`
	// Body is sent as JSON; ${…} alone in a text keeps its type. Secrets may stand in it as in headers.
	Body any `yaml:"body"`
	// Expect is a CEL expression over the response; the step fails if it is false. Default: status 200 to 299.
	Expect string `yaml:"expect"`
	// Keep keeps the answer's body as an artefact of the run, for everybody who may read to see; not for one with secret
	// outputs. Default false.
	Keep bool `yaml:"keep"`
	At   fault.Place

	url, headers, body *value
	expect             *expression
	secrets            []string
}

// Secrets are the names of the secrets that the request carries; the values that it is made with hold them as secrets.NAME.
func (h *HTTP) Secrets() []string { return h.secrets }

// Compensation is what undoes a step.
type Compensation struct {
	// HTTP sends a request.
	HTTP *HTTP `yaml:"http,required"`
	At   fault.Place

	own bool
}

// NeedsOutputs says that the step cannot be undone without what it gave.
func (c *Compensation) NeedsOutputs() bool { return c.own }

// Approval waits for people.
type Approval struct {
	// From are the names of tokens of those who may approve; empty takes everybody who may deploy.
	From []string `yaml:"from"`
	// Count is how many of them must. Default 1.
	Count int `yaml:"count"`
	// Within is how long they have before the step fails, 1m to 720h. Default 24h.
	Within time.Duration `yaml:"within"`
	// Text says what they are asked; ${…} may stand in it.
	Text string `yaml:"text"`
	At   fault.Place

	text *value
}

// Retry is how often and when a step is tried again. Waits double up to the limit, and vary by half.
type Retry struct {
	// Attempts is how often it is tried, 1 to 20.
	Attempts int `yaml:"attempts,required"`
	// Wait is the first wait. Default 1s.
	Wait time.Duration `yaml:"wait"`
	// Limit is the longest wait. Default 1m.
	Limit time.Duration `yaml:"limit"`
	At    fault.Place
}

// Output is something that a step or a path gives.
type Output struct {
	// Type is string, integer, number, boolean, array or object.
	Type string `yaml:"type,required"`
	// Value is a CEL expression.
	Value string `yaml:"value,required"`
	// Secret keeps the value, a string of at least 6 bytes, out of everything that people see. Default false.
	Secret bool `yaml:"secret"`
	At     fault.Place

	value *expression
}

// each is what for_each runs over.
type each struct{ key, value kind }

// DefaultRetry is how often an http step is tried that does not say.
var DefaultRetry = Retry{Attempts: 3, Wait: time.Second, Limit: time.Minute}

// IsRelease says that the step brings the release into its target.
func (s *Step) IsRelease() bool { return s.Uses == Release }

// Secrets are the names of all secrets that requests carry, sorted.
func (set Set) Secrets() (list []string) {
	for _, p := range set {
		for _, s := range p.Steps {
			if s.HTTP != nil {
				list = append(list, s.HTTP.secrets...)
			}
			if s.Compensate != nil {
				list = append(list, s.Compensate.HTTP.secrets...)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Hidden returns the outputs that are declared secret.
func Hidden(declared map[string]*Output, outputs map[string]any) (list []string) {
	for id, o := range declared {
		if text, _ := outputs[id].(string); o.Secret && text != "" {
			list = append(list, text)
		}
	}
	return list
}

// Reach returns the names of a path and of those that it uses, directly or not.
func (set Set) Reach(name string) (list []string) {
	todo := []string{name}
	for len(todo) > 0 {
		name, todo = todo[0], todo[1:]
		if set[name] == nil || slices.Contains(list, name) {
			continue
		}
		list = append(list, name)
		for _, s := range set[name].Steps {
			todo = append(todo, s.Uses)
		}
	}
	return list
}

// Step returns the step of an id, or nil.
func (p *Path) Step(id string) *Step {
	for _, s := range p.Steps {
		if s.ID == id {
			return s
		}
	}
	return nil
}
