package platform

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
)

// Environment is where applications run.
type Environment struct {
	// Name is the name of its file without .yaml.
	Name string
	environmentFile
	// Defaults are those of the environment over those of the platform over the built-in ones.
	Defaults Defaults
}

// environmentFile is the content of environments/NAME.yaml.
type environmentFile struct {
	// Namespace is the Kubernetes namespace of everything rendered; "" leaves objects without one, for the target to
	// decide.
	Namespace string `yaml:"namespace"`
	// Target is where releases go.
	Target Target `yaml:"target,required"`
	// Path is the golden path that deployments go through: the name of a file in paths/. Without it, the release is
	// deployed and that is all. Rollbacks and removals never go through one.
	Path string `yaml:"path"`
	// Variables are the outputs of resources of type environment.
	Variables map[string]string `yaml:"variables"`
	// Own are defaults for this environment alone.
	Own Defaults `yaml:"defaults"`
	// ConfirmDeletes says which deletions wait for a person: "stateful" (default), "all" or "none".
	ConfirmDeletes string `yaml:"confirmDeletes"`
	// WhenPlanDiffers says what a merge does whose plan is not the one that the pull request showed: "apply" (default)
	// goes on and says so, "stop" waits for a person.
	WhenPlanDiffers string `yaml:"whenPlanDiffers"`
	At              fault.Place
}

// Target is where releases of an environment go; exactly one of its fields is set.
type Target struct {
	// Directory is a folder that the reconciler writes manifests into.
	Directory *DirectoryTarget `yaml:"directory" json:"directory,omitempty"`
	// GitOps is a Git repository from which Argo CD or Flux deploys.
	GitOps *GitOpsTarget `yaml:"gitops" json:"gitops,omitempty"`
	At     fault.Place   `json:"-"`
}

// DirectoryTarget writes manifests into a folder.
type DirectoryTarget struct {
	// Path is absolute, or relative to the server's data directory.
	Path string `yaml:"path,required" json:"path"`
}

// GitOpsTarget commits manifests to a deployment repository.
type GitOpsTarget struct {
	// Repository is the URL of the deployment repository (http or https).
	Repository string `yaml:"repository,required" json:"repository"`
	// Branch is what Argo CD or Flux follows. Default main.
	Branch string `yaml:"branch" json:"branch"`
	// Path is the folder of the environment in the repository. Default environments/NAME.
	Path string `yaml:"path" json:"path"`
	// Forge names the forge of the server's configuration whose credentials are used; "" uses none.
	Forge string `yaml:"forge" json:"forge,omitempty"`
	// Secrets is the folder, absolute or relative to the server's data directory, that Secrets with their values are
	// written to instead of the repository: no secret value is ever committed. Without it, a release that holds a secret
	// value is an error.
	Secrets string `yaml:"secrets" json:"secrets,omitempty"`
	// ArgoCD adds an Application beside the manifests.
	ArgoCD *ArgoCD `yaml:"argocd" json:"argocd,omitempty"`
}

// ArgoCD describes the Application objects of an environment.
type ArgoCD struct {
	// Namespace of the Application objects. Default argocd.
	Namespace string `yaml:"namespace" json:"namespace"`
	// Project of the Applications. Default "default".
	Project string `yaml:"project" json:"project"`
	// Server is the cluster's address. Default https://kubernetes.default.svc.
	Server string `yaml:"server" json:"server"`
	// Repository is the deployment repository's URL as Argo CD reaches it. Default: as we do.
	Repository string `yaml:"repository" json:"repository"`
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (e *Environment) check(file string, text document.Text) (faults fault.List) {
	// key leads to the value, its parts divided by dots.
	bad := func(key, format string, args ...any) {
		faults = append(faults, text.Tell(fault.New(fault.ConfigValue, format, args...), strings.Split(key, ".")...))
	}
	if !namePattern.MatchString(e.Name) {
		faults = append(faults, fault.New(fault.ConfigValue, "environment name %q (the file's name) must be at most 63 lower-case letters, digits and dashes",
			e.Name).At(fault.Place{File: file}))
	}
	if e.Namespace != "" && !namePattern.MatchString(e.Namespace) {
		bad("namespace", "namespace %q is not a name that Kubernetes accepts", e.Namespace)
	}
	e.ConfirmDeletes = orElse(e.ConfirmDeletes, "stateful")
	e.WhenPlanDiffers = orElse(e.WhenPlanDiffers, "apply")
	if !oneOf(e.ConfirmDeletes, "stateful", "all", "none") {
		bad("confirmDeletes", `confirmDeletes is %q, want "stateful", "all" or "none"`, e.ConfirmDeletes)
	}
	if !oneOf(e.WhenPlanDiffers, "apply", "stop") {
		bad("whenPlanDiffers", `whenPlanDiffers is %q, want "apply" or "stop"`, e.WhenPlanDiffers)
	}
	if (e.Target.Directory == nil) == (e.Target.GitOps == nil) {
		bad("target", "target needs exactly one of directory and gitops")
	}
	if g := e.Target.GitOps; g != nil {
		if u, err := url.Parse(g.Repository); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			bad("target.gitops.repository", "target.gitops.repository must be the URL of a Git repository (http or https)") // it may hold a password
		}
		g.Branch = orElse(g.Branch, "main")
		g.Path = orElse(g.Path, "environments/"+e.Name)
		if clean := path.Clean(g.Path); clean != g.Path || path.IsAbs(clean) || clean == "." || strings.HasPrefix(clean, "..") {
			bad("target.gitops.path", "target.gitops.path %q must be a relative path inside the repository", g.Path)
		}
		if a := g.ArgoCD; a != nil {
			a.Namespace = orElse(a.Namespace, "argocd")
			a.Project = orElse(a.Project, "default")
			a.Server = orElse(a.Server, "https://kubernetes.default.svc")
			a.Repository = orElse(a.Repository, g.Repository)
		}
	}
	return append(faults, e.Own.check(text)...)
}

// String names the target's kind and place for people.
func (t Target) String() string {
	if t.GitOps != nil {
		return fmt.Sprintf("gitops %s %s:%s", t.GitOps.Repository, t.GitOps.Branch, t.GitOps.Path)
	}
	return "directory " + t.Directory.Path
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func oneOf(value string, allowed ...string) bool {
	for _, a := range allowed {
		if value == a {
			return true
		}
	}
	return false
}
