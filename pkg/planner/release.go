package planner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/score"
)

// Release is the desired state of one application in one environment. It is immutable; equal content has an equal
// digest, whatever commit it comes from.
type Release struct {
	// Workload is metadata.name of the Score file.
	Workload string `json:"workload"`
	// Score is the merged Score document with the places of its values.
	Score *score.Node `json:"score"`
	// Target is where the environment delivers to, as JSON: a release for another place is another one.
	Target json.RawMessage `json:"target,omitempty"`
	// Resources in the order in which they are provisioned.
	Resources []Resource `json:"resources,omitempty"`
	// Objects that the target shall have, sorted by unit, kind and name; secret values are replaced by fingerprints.
	Objects []Object `json:"objects"`
	// Service is how other workloads reach this one.
	Service recipe.Service `json:"service,omitzero"`
	// Digest is the SHA-256 of all of the above without places, in hexadecimal digits.
	Digest string `json:"digest"`
	// Hidden is what must not be seen; it is stored encrypted.
	Hidden Hidden `json:"-"`
}

// Hidden is the part of a release that is secret.
type Hidden struct {
	// Values are the secret values of the release's objects, base64-encoded, by the token that stands for them.
	Values map[string]string `json:"values,omitempty"`
	// Records are the evaluations of the release's template resources by UID.
	Records map[string]recipe.Record `json:"records,omitempty"`
	// Shared is what the release's resources add to the state that all resources of the environment share.
	Shared map[string]any `json:"shared,omitempty"`
}

// Resource is a Score resource of a release.
type Resource struct {
	// UID is TYPE.CLASS#WORKLOAD.NAME, or TYPE.CLASS#ID for one that has an id: unique in an environment.
	UID         string `json:"uid"`
	Name        string `json:"name"`
	Type        string `json:"type"`
	Class       string `json:"class"`
	ID          string `json:"id,omitempty"`
	Provisioner string `json:"provisioner"`
	// Stateful says that deleting the resource loses data.
	Stateful bool `json:"stateful,omitempty"`
	// Params are the params with placeholders resolved, as canonical JSON; secret values are replaced.
	Params json.RawMessage `json:"params,omitempty"`
	// Outputs are for people: secrets are masked.
	Outputs map[string]string `json:"outputs,omitempty"`
	At      fault.Place       `json:"at,omitzero"`
}

// Unit says who an object belongs to.
type Unit string

const (
	// UnitApplication: the application alone; it goes with it.
	UnitApplication Unit = "application"
	// UnitShared: the environment; it goes with the last resource that needs it.
	UnitShared Unit = "shared"
)

// Object is a Kubernetes object of a release.
type Object struct {
	Unit       Unit   `json:"unit"`
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	// Resource is the UID of the resource that it belongs to, "" for the workload's own.
	Resource string `json:"resource,omitempty"`
	// Body is the whole object as JSON with sorted keys.
	Body json.RawMessage `json:"body"`
}

// Key identifies an object in its environment, whatever the version of its API group.
func (o Object) Key() string {
	group, _, found := cutLast(o.APIVersion, "/")
	if !found {
		group = ""
	}
	return fmt.Sprintf("%s/%s/%s/%s", group, o.Kind, o.Namespace, o.Name)
}

// digest computes the release's digest.
func (r *Release) digest() string {
	resources := make([]Resource, len(r.Resources))
	for i, res := range r.Resources {
		res.At, res.Outputs = fault.Place{}, nil
		resources[i] = res
	}
	text, err := json.Marshal(resources)
	if err != nil {
		panic(err) // only types that always marshal
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %s %s %s ", r.Workload, r.Target, r.Score.Canonical(), text)
	for _, o := range r.Objects {
		fmt.Fprintf(sum, "%q %q %q %d ", o.Unit, o.Key(), o.Resource, len(o.Body))
		sum.Write(o.Body)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
