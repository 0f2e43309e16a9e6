package kubernetes

import (
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/score"
)

// ManagedBy is the value of the label app.kubernetes.io/managed-by on everything that the reconciler makes.
const ManagedBy = "reconciler"

// Labels and annotations of ours. The application's label is what objects are found and pruned by.
const (
	LabelApplication = "reconciler.dev/application"
	// annotationContent changes with the content of files and generated Secrets, so that a change rolls out.
	annotationContent = "reconciler.dev/content"
)

// Annotations of a Score file that score-k8s defines and that we read with the same meaning.
const (
	annotationPrefix      = "k8s.score.dev/"
	annotationKind        = annotationPrefix + "kind"
	annotationServiceName = annotationPrefix + "service-name"
)

// SecretRef is a key of a Kubernetes Secret.
type SecretRef struct{ Name, Key string }

// Part is a piece of a resolved text: plain text, or a reference to a secret value if Secret is set.
type Part struct {
	Text   string
	Secret *SecretRef
}

// Input is a workload with what its placeholders and files mean.
type Input struct {
	Workload  *score.Workload
	Namespace string
	Defaults  platform.Defaults
	// Scaled says that an autoscaler sets the number of replicas.
	Scaled bool
	// Resolve replaces the placeholders of a text.
	Resolve func(text string, at fault.Place) ([]Part, error)
	// Volume returns the outputs of the resource that a volume's source names.
	Volume func(source string, at fault.Place) (resource string, outputs map[string]any, err error)
	// Source returns the content of a file that the workload refers to.
	Source func(path string, at fault.Place) ([]byte, error)
	// SecretValue returns a secret value that is known while planning, for files that mix text and secrets.
	SecretValue func(SecretRef) (string, bool)
	// Fingerprint stands for a secret value in the digest that rolls out changed files.
	Fingerprint func(value string) string
}

// Render returns the workload's objects in a fixed order, each as a JSON tree, and what could not be rendered.
func Render(in Input) ([]map[string]any, fault.List) {
	r := &renderer{Input: in, w: in.Workload, content: map[string]string{}}
	r.instructions()
	r.pod()
	r.service()
	switch kind := annotation(r.w, annotationKind).Value; kind {
	case "", "Deployment":
		r.deployment()
	case "StatefulSet":
		r.statefulSet()
	default:
		r.bad(fault.RenderKind, annotation(r.w, annotationKind).At, "workloads of kind %q cannot be rendered", kind).
			Suggest(fault.Nearest(kind, []string{"Deployment", "StatefulSet"}))
	}
	r.faults.Sort()
	if r.faults.Err() != nil {
		return nil, r.faults
	}
	return r.trees(), r.faults
}

type renderer struct {
	Input
	w       *score.Workload
	objects []any
	claims  []corev1.PersistentVolumeClaim
	spec    corev1.PodSpec
	// content is what a change must roll out, by a name that is unique in the workload.
	content map[string]string
	faults  fault.List
}

func (r *renderer) bad(code fault.Code, at fault.Place, format string, args ...any) *fault.Fault {
	f := fault.New(code, format, args...).At(at)
	r.faults = append(r.faults, f)
	return f
}

// note takes over an error of a function of the input; the place is used if the error has none.
func (r *renderer) note(err error, at fault.Place) {
	for _, f := range fault.Of(err) {
		if f.Place == (fault.Place{}) {
			f.Place = at
		}
		r.faults = append(r.faults, f)
	}
}

// annotation returns the workload's annotation of a name, empty and at the workload's name if it has none.
func annotation(w *score.Workload, name string) score.Annotation {
	for _, a := range w.Annotations {
		if a.Name == name {
			return a
		}
	}
	return score.Annotation{At: w.NameAt}
}

func (r *renderer) labels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":       r.w.Name,
		"app.kubernetes.io/instance":   r.w.Name,
		"app.kubernetes.io/managed-by": ManagedBy,
		LabelApplication:               r.w.Name,
	}
}

// selector must never change for a workload: Kubernetes refuses it.
func (r *renderer) selector() map[string]string {
	return map[string]string{"app.kubernetes.io/instance": r.w.Name, "app.kubernetes.io/name": r.w.Name}
}

func (r *renderer) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: r.Namespace, Labels: r.labels()}
}

// instructions tells about annotations that instruct the renderer and have no effect.
func (r *renderer) instructions() {
	for _, a := range r.w.Annotations {
		switch {
		case !strings.HasPrefix(a.Name, annotationPrefix) || a.Name == annotationKind:
		case a.Name != annotationServiceName:
			r.bad(fault.RenderAnnotation, a.At, "annotation %s is not known and has no effect", a.Name).Warn().
				Suggest(fault.Nearest(a.Name, []string{annotationKind, annotationServiceName}))
		case len(r.w.Ports) == 0:
			r.bad(fault.RenderAnnotation, a.At, "annotation %s has no effect: the workload has no service ports", a.Name).Warn()
		}
	}
}

// annotations are those of the Score file that are not instructions to the renderer.
func (r *renderer) annotations() map[string]string {
	out := map[string]string{}
	for _, a := range r.w.Annotations {
		if !strings.HasPrefix(a.Name, annotationPrefix) {
			out[a.Name] = a.Value
		}
	}
	return out
}

func (r *renderer) template() corev1.PodTemplateSpec {
	annotations := r.annotations()
	if len(r.content) > 0 {
		annotations[annotationContent] = digest(r.content)
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: r.labels(), Annotations: orNil(annotations)},
		Spec:       r.spec,
	}
}

func (r *renderer) replicas() *int32 {
	if r.Scaled {
		return nil
	}
	return r.Defaults.Replicas
}

func (r *renderer) deployment() {
	meta := r.meta(r.w.Name)
	meta.Annotations = orNil(r.annotations())
	r.objects = append(r.objects, &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas: r.replicas(), Selector: &metav1.LabelSelector{MatchLabels: r.selector()}, Template: r.template(),
		},
	})
}

// statefulSetNameLimit leaves room for what the controller appends in the label controller-revision-hash (a dash and
// ten characters) below the 63 characters of a label's value.
const statefulSetNameLimit = 52

func (r *renderer) statefulSet() {
	if len(r.w.Name) > statefulSetNameLimit {
		r.bad(fault.RenderName, r.w.NameAt, "the name of a StatefulSet can have at most %d characters, %q has %d",
			statefulSetNameLimit, r.w.Name, len(r.w.Name))
	}
	headless := r.w.Name + "-headless"
	if !serviceNamePattern.MatchString(headless) {
		r.bad(fault.RenderName, r.w.NameAt, "a StatefulSet needs a Service, whose name begins with a letter; %q does not", r.w.Name)
	}
	meta := r.meta(r.w.Name)
	meta.Annotations = orNil(r.annotations())
	r.objects = append(r.objects,
		&corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: r.meta(headless),
			Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: r.selector()},
		},
		&appsv1.StatefulSet{
			TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}, ObjectMeta: meta,
			Spec: appsv1.StatefulSetSpec{
				Replicas: r.replicas(), ServiceName: headless, Selector: &metav1.LabelSelector{MatchLabels: r.selector()},
				Template: r.template(), VolumeClaimTemplates: r.claims,
			},
		})
}

// trees turns the typed objects into JSON trees without the fields that only a server fills.
func (r *renderer) trees() []map[string]any {
	out := make([]map[string]any, 0, len(r.objects))
	for _, o := range r.objects {
		tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			panic(fmt.Sprintf("convert %T: %v", o, err)) // typed objects of k8s.io/api always convert
		}
		out = append(out, tidy(tree))
	}
	return out
}

// tidy removes what Go's types leave behind: an empty status, strategies and resources that nobody set.
func tidy(tree map[string]any) map[string]any {
	delete(tree, "status")
	spec, _ := tree["spec"].(map[string]any)
	dropEmpty(spec, "strategy", "updateStrategy")
	claims, _ := spec["volumeClaimTemplates"].([]any)
	for _, c := range claims {
		claim, _ := c.(map[string]any)
		delete(claim, "status")
	}
	template, _ := spec["template"].(map[string]any)
	pod, _ := template["spec"].(map[string]any)
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := pod[list].([]any)
		for _, c := range containers {
			container, _ := c.(map[string]any)
			dropEmpty(container, "resources")
		}
	}
	return tree
}

func dropEmpty(m map[string]any, keys ...string) {
	for _, k := range keys {
		if below, ok := m[k].(map[string]any); ok && len(below) == 0 {
			delete(m, k)
		}
	}
}

func orNil(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}
