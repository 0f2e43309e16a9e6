package kubernetes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// volumes mounts the resources that a container's volumes name. A resource is one volume of the Pod, whatever the number
// of containers and paths that it is mounted at.
func (r *renderer) volumes(c *score.Container) []corev1.VolumeMount {
	var mounts []corev1.VolumeMount
	for _, v := range c.Volumes {
		switch {
		case !path.IsAbs(v.Target) || path.Clean(v.Target) == "/" || strings.ContainsFunc(v.Target, unfitForTarget):
			r.bad(fault.RenderMount, v.At, "a volume's target must be an absolute path below / without colons and control characters, got %q", v.Target)
			continue
		case path.IsAbs(v.Path) || slices.Contains(strings.Split(v.Path, "/"), "..") || strings.ContainsFunc(v.Path, unicode.IsControl):
			r.bad(fault.RenderMount, v.At, "the path inside a volume must be relative and without .. and control characters, got %q", v.Path)
			continue
		}
		resource, outputs, err := r.Volume(v.Source, v.SourceAt)
		if err != nil {
			r.note(err, v.SourceAt)
			continue
		}
		name := volumeName(resource)
		if r.addVolume(name, resource, outputs, v.SourceAt) {
			mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: v.Target, SubPath: v.Path, ReadOnly: v.ReadOnly})
		}
	}
	return mounts
}

// unfitForTarget says that no mount's path has the character: a colon separates paths for container runtimes.
func unfitForTarget(c rune) bool { return c == ':' || unicode.IsControl(c) }

func volumeName(resource string) string {
	if name := "vol-" + resource; len(name) <= 63 {
		return name
	}
	sum := sha256.Sum256([]byte(resource))
	return "vol-" + hex.EncodeToString(sum[:8])
}

// addVolume adds a resource's volume or claim to the Pod if it is not there yet.
func (r *renderer) addVolume(name, resource string, outputs map[string]any, at fault.Place) bool {
	for _, v := range r.spec.Volumes {
		if v.Name == name {
			return true
		}
	}
	for _, c := range r.claims {
		if c.Name == name {
			return true
		}
	}
	source, hasSource := outputs["source"]
	claim, hasClaim := outputs["claimSpec"]
	switch {
	case hasSource:
		if fields, _ := source.(map[string]any); len(fields) != 1 {
			r.bad(fault.RenderVolume, at, "output source of resource %s must be one volume source of Kubernetes, it has %d", resource, len(fields))
			return false
		}
		volume := corev1.Volume{Name: name}
		if err := strict(source, &volume.VolumeSource); err != nil {
			r.bad(fault.RenderVolume, at, "output source of resource %s is not a volume source of Kubernetes: %w", resource, err)
			return false
		}
		r.spec.Volumes = append(r.spec.Volumes, volume)
	case hasClaim && annotation(r.w, annotationKind).Value == "StatefulSet":
		pvc := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: r.labels()}}
		if err := strict(claim, &pvc.Spec); err != nil {
			r.bad(fault.RenderVolume, at, "output claimSpec of resource %s is not a claim of Kubernetes: %w", resource, err)
			return false
		}
		r.claims = append(r.claims, pvc)
	case hasClaim:
		r.bad(fault.RenderVolume, at, "resource %s gives one volume per replica, which needs a StatefulSet", resource).
			Do(`Set the annotation %s: StatefulSet in the workload's metadata.`, annotationKind)
		return false
	default:
		r.bad(fault.RenderVolume, at, "resource %s is not a volume: it has no output source or claimSpec", resource)
		return false
	}
	return true
}

// strict decodes a tree into a typed value and refuses fields that it does not have.
func strict(tree, into any) error {
	text, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
