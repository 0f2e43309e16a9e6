package kubernetes

import (
	"cmp"
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// serviceNamePattern is RFC 1035's label, which Kubernetes demands of a Service's name.
var serviceNamePattern = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// ServiceName returns the name of a workload's Service, "" if it has none.
func ServiceName(w *score.Workload) string {
	if len(w.Ports) == 0 {
		return ""
	}
	return cmp.Or(annotation(w, annotationServiceName).Value, w.Name)
}

func (r *renderer) service() {
	name := ServiceName(r.w)
	if name == "" {
		return
	}
	if !serviceNamePattern.MatchString(name) {
		r.bad(fault.RenderName, annotation(r.w, annotationServiceName).At, "a Service cannot be called %q: its name begins with a letter and has at most 63 lower-case letters, digits and dashes", name)
	}
	service := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: r.meta(name),
		Spec: corev1.ServiceSpec{Selector: r.selector()},
	}
	taken := map[string]string{}
	for _, p := range r.w.Ports {
		key := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if other := taken[key]; other != "" {
			r.bad(fault.RenderPort, p.At, "ports %s and %s both listen on %s", other, p.Name, key)
		}
		taken[key] = p.Name
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name: p.Name, Port: int32(p.Port), TargetPort: intstr.FromInt(p.TargetPort), Protocol: corev1.Protocol(p.Protocol),
		})
	}
	r.objects = append(r.objects, service)
}
