package kubernetes

import (
	"cmp"
	"path"
	"reflect"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/score"
)

// pod fills the Pod's specification.
func (r *renderer) pod() {
	d := r.Defaults
	r.spec = corev1.PodSpec{AutomountServiceAccountToken: d.ServiceAccountToken, SecurityContext: podSecurity(d.Security)}
	for _, name := range d.ImagePullSecrets {
		r.spec.ImagePullSecrets = append(r.spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	roles := r.order()
	rendered := map[string]corev1.Container{}
	for i := range r.w.Containers {
		c := &r.w.Containers[i]
		rendered[c.Name] = r.container(c, roles.of[c.Name])
	}
	for _, name := range roles.first {
		r.spec.InitContainers = append(r.spec.InitContainers, rendered[name])
	}
	for i := range r.w.Containers {
		if name := r.w.Containers[i].Name; roles.of[name] == regular {
			r.spec.Containers = append(r.spec.Containers, rendered[name])
		}
	}
	if len(r.spec.Containers) == 0 {
		r.bad(fault.RenderOrder, r.w.At, "every container runs before another one, none is left to be the workload")
	}
	slices.SortFunc(r.spec.Volumes, func(a, b corev1.Volume) int { return cmp.Compare(a.Name, b.Name) })
}

func (r *renderer) container(c *score.Container, role role) corev1.Container {
	r.image(c)
	out := corev1.Container{
		Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args,
		Resources: r.resources(c), SecurityContext: containerSecurity(r.Defaults.Security),
		Env:           r.variables(c),
		LivenessProbe: r.probe(c.Liveness), ReadinessProbe: r.probe(c.Readiness),
	}
	switch role {
	case completes:
		if c.Liveness != nil || c.Readiness != nil {
			r.bad(fault.RenderOrder, c.At, "container %s runs to completion before another one and cannot have probes", c.Name)
		}
	case healthy:
		if out.StartupProbe = startup(out); out.StartupProbe == nil {
			r.bad(fault.RenderOrder, c.At, "container %s must be healthy before another one starts, but it has no probe that could tell", c.Name)
		}
		out.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	case started:
		out.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	case regular:
	}
	out.VolumeMounts = append(r.files(c), r.volumes(c)...)
	slices.SortFunc(out.VolumeMounts, func(a, b corev1.VolumeMount) int { return cmp.Compare(a.MountPath, b.MountPath) })
	r.mountClashes(c, out.VolumeMounts)
	return out
}

// startup returns the probe by which a sidecar counts as healthy: readiness before liveness. The kubelet starts the
// next container once it succeeds.
func startup(c corev1.Container) *corev1.Probe {
	if c.ReadinessProbe != nil {
		return c.ReadinessProbe
	}
	return c.LivenessProbe
}

func (r *renderer) mountClashes(c *score.Container, mounts []corev1.VolumeMount) {
	taken := map[string]bool{}
	for _, m := range mounts {
		at := path.Clean(m.MountPath)
		if taken[at] {
			r.bad(fault.RenderMount, c.At, "container %s mounts two things at %s", c.Name, at)
		}
		taken[at] = true
	}
}

// image applies the platform's image policy.
func (r *renderer) image(c *score.Container) {
	policy := r.Defaults.Images
	if c.Image == "." {
		r.bad(fault.RenderImage, c.ImageAt, "the image of container %s is to be supplied at deployment, and nothing supplies it", c.Name)
		return
	}
	if strings.ContainsFunc(c.Image, unfitForImage) {
		r.bad(fault.RenderImage, c.ImageAt, "the image of container %s has blanks or invisible characters in it: %q", c.Name, c.Image).
			Do("Write the name of the image without them.")
		return
	}
	name, tag, digest := platform.Image(c.Image)
	pinned := digest != ""
	switch {
	case len(policy.Allow) > 0 && !platform.Matches(policy.Allow, name):
		r.bad(fault.ImagePolicy, c.ImageAt, "image %s is not from a place that the platform allows", c.Image).
			Do("Allowed here: %s.", strings.Join(policy.Allow, ", "))
	case set(policy.RequireDigest) && (!pinned || !strings.HasPrefix(digest, "sha256:")):
		r.bad(fault.ImagePolicy, c.ImageAt, "image %s is not pinned by digest, as the platform demands", c.Image)
	case set(policy.DenyLatest) && !pinned && (tag == "" || tag == "latest"):
		r.bad(fault.ImagePolicy, c.ImageAt, "image %s has no version, as the platform demands", c.Image)
	}
}

// unfitForImage says that no image's name has the character: nothing could pull it, or people would read another name.
func unfitForImage(c rune) bool { return unicode.IsSpace(c) || !unicode.IsGraphic(c) }

func set(b *bool) bool { return b != nil && *b }

func (r *renderer) resources(c *score.Container) corev1.ResourceRequirements {
	limits, requests := written(c.Limits), written(c.Requests)
	out := corev1.ResourceRequirements{
		Limits:   r.quantities(c, limits, r.Defaults.Limits),
		Requests: r.quantities(c, requests, r.Defaults.Requests),
	}
	for name, request := range out.Requests {
		limit, limited := out.Limits[name]
		if !limited || request.Cmp(limit) <= 0 {
			continue
		}
		// A default must not contradict what the file says: it gives way.
		switch {
		case requests[name].text == "":
			out.Requests[name] = limit
		case limits[name].text != "":
			r.bad(fault.RenderResources, requests[name].at, "container %s requests %s of %s, more than its limit of %s", c.Name, &request, name, &limit)
		default:
			out.Limits[name] = request
		}
	}
	return out
}

// amount is a quantity of a Score file, "" if it has none.
type amount struct {
	text string
	at   fault.Place
}

func written(a score.Amounts) map[corev1.ResourceName]amount {
	return map[corev1.ResourceName]amount{corev1.ResourceCPU: {a.CPU, a.CPUAt}, corev1.ResourceMemory: {a.Memory, a.MemoryAt}}
}

func (r *renderer) quantities(c *score.Container, own map[corev1.ResourceName]amount, otherwise platform.Resources) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, standard := range map[corev1.ResourceName]string{corev1.ResourceCPU: otherwise.CPU, corev1.ResourceMemory: otherwise.Memory} {
		a := own[name]
		if a.text == "" {
			a = amount{standard, c.At}
		}
		if a.text == "" {
			continue
		}
		q, err := resource.ParseQuantity(a.text)
		if err != nil {
			r.bad(fault.RenderResources, a.at, "%s %q of container %s is not a quantity that Kubernetes knows", name, a.text, c.Name)
		}
		out[name] = q
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func podSecurity(s platform.Security) *corev1.PodSecurityContext {
	out := &corev1.PodSecurityContext{
		RunAsNonRoot: s.RunAsNonRoot, RunAsUser: s.RunAsUser, RunAsGroup: s.RunAsGroup, FSGroup: s.FSGroup,
	}
	if s.Seccomp != "" {
		out.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileType(s.Seccomp)}
	}
	if reflect.ValueOf(*out).IsZero() {
		return nil
	}
	return out
}

func containerSecurity(s platform.Security) *corev1.SecurityContext {
	out := &corev1.SecurityContext{
		AllowPrivilegeEscalation: s.AllowPrivilegeEscalation, ReadOnlyRootFilesystem: s.ReadOnlyRootFilesystem,
	}
	if len(s.DropCapabilities) > 0 {
		out.Capabilities = &corev1.Capabilities{}
		for _, c := range s.DropCapabilities {
			out.Capabilities.Drop = append(out.Capabilities.Drop, corev1.Capability(c))
		}
	}
	if reflect.ValueOf(*out).IsZero() {
		return nil
	}
	return out
}
