package kubernetes

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// probe renders a probe. The specification lets more pass than Kubernetes does: a command without words, header names
// with underscores. Hosts and header values no API server looks at, but a probe that cannot be asked fails for ever.
func (r *renderer) probe(p *score.Probe) *corev1.Probe {
	switch {
	case p == nil:
		return nil
	case p.Exec != nil && len(p.Exec.Command) == 0:
		r.bad(fault.RenderProbeValue, p.Exec.CommandAt, "the command of a probe must not be empty").
			Do("Write the command, or remove exec.")
		return nil
	case p.Exec != nil:
		// Kubernetes takes one handler. Where both are given the specification's reference prefers exec, which needs no
		// network.
		if p.HTTPGet != nil {
			r.bad(fault.RenderProbe, p.At, "Kubernetes runs one check per probe: exec is used, httpGet is left out").Warn()
		}
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: p.Exec.Command}}}
	default:
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: r.httpGet(p.HTTPGet)}}
	}
}

func (r *renderer) httpGet(g *score.HTTPGet) *corev1.HTTPGetAction {
	if g.Host != "" && !isHost(g.Host) {
		r.bad(fault.RenderProbeValue, g.HostAt, "the host of a probe must be a host name or an IP address, got %q", g.Host).
			Do("Correct it, or remove it: without a host the Pod itself is asked.")
	}
	out := &corev1.HTTPGetAction{Path: g.Path, Port: intstr.FromInt(g.Port), Host: g.Host, Scheme: corev1.URIScheme(g.Scheme)}
	for _, h := range g.Headers {
		if len(validation.IsHTTPHeaderName(h.Name)) > 0 {
			r.bad(fault.RenderProbeValue, h.NameAt, "Kubernetes takes letters, digits and dashes in the name of a probe's header, got %q", h.Name)
		}
		if strings.ContainsFunc(h.Value, unfitForHeader) {
			r.bad(fault.RenderProbeValue, h.ValueAt, "the value of a probe's header must not have control characters, got %q", h.Value)
		}
		out.HTTPHeaders = append(out.HTTPHeaders, corev1.HTTPHeader{Name: h.Name, Value: h.Value})
	}
	return out
}

// hostName is what resolvers take: labels with dots between them, with underscores too, and a dot at the end.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || len(s) <= 254 && hostName.MatchString(s)
}

// unfitForHeader says that a header's value must not have the character (RFC 9110, section 5.5).
func unfitForHeader(c rune) bool { return unicode.IsControl(c) && c != '\t' }
