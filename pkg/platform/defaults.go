package platform

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
)

// Defaults decide what a Score file leaves open. A field that is not set leaves the decision to the next level: the
// environment's file, then platform.yaml, then what is built in.
type Defaults struct {
	// Replicas of a workload; not set: Kubernetes' own default of 1, and an autoscaler may change it.
	Replicas *int32 `yaml:"replicas"`
	// Requests and Limits are for containers that say nothing about a resource themselves.
	Requests Resources `yaml:"requests"`
	Limits   Resources `yaml:"limits"`
	// Security applies to every Pod and container.
	Security Security `yaml:"security"`
	// ServiceAccountToken mounts the API token into Pods. Built in: false.
	ServiceAccountToken *bool `yaml:"serviceAccountToken"`
	// ImagePullSecrets are names of Secrets that exist in the namespace.
	ImagePullSecrets []string `yaml:"imagePullSecrets"`
	// Images says which images may run.
	Images Images `yaml:"images"`
}

// Resources are quantities in Kubernetes' notation, for example cpu 250m and memory 128Mi; "" is not set.
type Resources struct {
	CPU    string `yaml:"cpu"`
	Memory string `yaml:"memory"`
}

// Security is the part of Kubernetes' security contexts that a platform usually decides.
type Security struct {
	RunAsNonRoot             *bool    `yaml:"runAsNonRoot"`
	RunAsUser                *int64   `yaml:"runAsUser"`
	RunAsGroup               *int64   `yaml:"runAsGroup"`
	FSGroup                  *int64   `yaml:"fsGroup"`
	ReadOnlyRootFilesystem   *bool    `yaml:"readOnlyRootFilesystem"`
	AllowPrivilegeEscalation *bool    `yaml:"allowPrivilegeEscalation"`
	DropCapabilities         []string `yaml:"dropCapabilities"`
	// Seccomp is RuntimeDefault, Unconfined or "" for what the cluster does by itself.
	Seccomp string `yaml:"seccomp"`
}

// Images is the policy for container images.
type Images struct {
	// Allow holds patterns of path.Match over the image without tag and digest, where a trailing /** allows everything
	// below; empty allows every image.
	Allow []string `yaml:"allow"`
	// RequireDigest refuses images that are not pinned by digest.
	RequireDigest *bool `yaml:"requireDigest"`
	// DenyLatest refuses the tag latest and images without tag and digest.
	DenyLatest *bool `yaml:"denyLatest"`
	// Check holds patterns, as in allow, of images whose registry is asked before a rollback whether it still has them;
	// empty asks nobody. Credentials are those of the server's Docker configuration.
	Check []string `yaml:"check"`
}

// builtInDefaults are safe for images that were not made with a hardened cluster in mind: they need neither another
// user nor a read-only file system.
var builtInDefaults = Defaults{
	Security:            Security{AllowPrivilegeEscalation: new(false), Seccomp: "RuntimeDefault"},
	ServiceAccountToken: new(false),
}

// over returns d with what it leaves open taken from below.
func (d Defaults) over(below Defaults) Defaults {
	d.Replicas = first(d.Replicas, below.Replicas)
	d.Requests = d.Requests.over(below.Requests)
	d.Limits = d.Limits.over(below.Limits)
	d.ServiceAccountToken = first(d.ServiceAccountToken, below.ServiceAccountToken)
	d.ImagePullSecrets = firstList(d.ImagePullSecrets, below.ImagePullSecrets)
	d.Images.Allow = firstList(d.Images.Allow, below.Images.Allow)
	d.Images.Check = firstList(d.Images.Check, below.Images.Check)
	d.Images.RequireDigest = first(d.Images.RequireDigest, below.Images.RequireDigest)
	d.Images.DenyLatest = first(d.Images.DenyLatest, below.Images.DenyLatest)
	s, b := &d.Security, below.Security
	s.RunAsNonRoot = first(s.RunAsNonRoot, b.RunAsNonRoot)
	s.RunAsUser = first(s.RunAsUser, b.RunAsUser)
	s.RunAsGroup = first(s.RunAsGroup, b.RunAsGroup)
	s.FSGroup = first(s.FSGroup, b.FSGroup)
	s.ReadOnlyRootFilesystem = first(s.ReadOnlyRootFilesystem, b.ReadOnlyRootFilesystem)
	s.AllowPrivilegeEscalation = first(s.AllowPrivilegeEscalation, b.AllowPrivilegeEscalation)
	s.DropCapabilities = firstList(s.DropCapabilities, b.DropCapabilities)
	s.Seccomp = orElse(s.Seccomp, b.Seccomp)
	return d
}

func (r Resources) over(below Resources) Resources {
	return Resources{CPU: orElse(r.CPU, below.CPU), Memory: orElse(r.Memory, below.Memory)}
}

func first[T any](values ...*T) *T {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

func firstList(a, b []string) []string {
	if a != nil {
		return a
	}
	return b
}

// The quantities are those that a Score file may give.
var (
	cpuPattern    = regexp.MustCompile(`^\d+(?:m|\.\d+)?$`)
	memoryPattern = regexp.MustCompile(`^(0\.\d+|[1-9]\d*(\.\d+)?)(K|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`)
)

func (d Defaults) check(text document.Text) (faults fault.List) {
	// key leads to the value below defaults, its parts divided by dots.
	bad := func(key, format string, args ...any) {
		path := append([]string{"defaults"}, strings.Split(key, ".")...)
		faults = append(faults, text.Tell(fault.New(fault.ConfigValue, "defaults."+key+" "+format, args...), path...))
	}
	if d.Replicas != nil && *d.Replicas < 0 {
		bad("replicas", "is %d, want 0 or more", *d.Replicas)
	}
	for name, r := range map[string]Resources{"requests": d.Requests, "limits": d.Limits} {
		if r.CPU != "" && !cpuPattern.MatchString(r.CPU) {
			bad(name+".cpu", "is %q, want cores such as 0.5 or 500m", r.CPU)
		}
		if r.Memory != "" && !memoryPattern.MatchString(r.Memory) {
			bad(name+".memory", "is %q, want bytes such as 128Mi", r.Memory)
		}
	}
	if !oneOf(d.Security.Seccomp, "", "RuntimeDefault", "Unconfined") {
		bad("security.seccomp", "is %q, want RuntimeDefault or Unconfined", d.Security.Seccomp)
	}
	for key, patterns := range map[string][]string{"images.allow": d.Images.Allow, "images.check": d.Images.Check} {
		for i, pattern := range patterns {
			if _, err := path.Match(pattern, ""); err != nil {
				bad(fmt.Sprintf("%s.%d", key, i), "is the pattern %q: %w", pattern, err)
			}
		}
	}
	return faults
}
