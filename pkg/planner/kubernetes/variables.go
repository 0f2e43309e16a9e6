package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// variables renders a container's environment, sorted by name. A value that is one reference to a secret becomes a
// secretKeyRef; one that mixes text and references is composed by the kubelet from helper variables, which stand first
// because it expands only what was defined before.
func (r *renderer) variables(c *score.Container) []corev1.EnvVar {
	var env []corev1.EnvVar
	helpers := map[string]SecretRef{}
	for _, v := range c.Variables {
		r.variableName(c, v)
		parts, err := r.Resolve(v.Value, v.At)
		if err != nil {
			r.note(err, v.At)
			continue
		}
		if len(parts) == 1 && parts[0].Secret != nil {
			r.depend(*parts[0].Secret)
			env = append(env, corev1.EnvVar{Name: v.Name, ValueFrom: fromSecret(*parts[0].Secret)})
			continue
		}
		var text strings.Builder
		mixed := slices.ContainsFunc(parts, func(p Part) bool { return p.Secret != nil })
		for _, p := range parts {
			switch {
			case p.Secret != nil:
				helper := helperName(*p.Secret)
				helpers[helper] = *p.Secret
				r.depend(*p.Secret)
				text.WriteString("$(" + helper + ")")
			case mixed:
				// What the kubelet would expand by accident is escaped in its own way: $$ is a dollar.
				text.WriteString(strings.ReplaceAll(p.Text, "$", "$$"))
			default:
				// $(NAME) stays, as with score-k8s: it composes values from other variables.
				text.WriteString(strings.ReplaceAll(p.Text, "$$", "$$$$"))
			}
		}
		env = append(env, corev1.EnvVar{Name: v.Name, Value: text.String()})
	}
	var first []corev1.EnvVar
	for _, name := range slices.Sorted(maps.Keys(helpers)) {
		first = append(first, corev1.EnvVar{Name: name, ValueFrom: fromSecret(helpers[name])})
	}
	return append(first, env...)
}

// depend makes the Pod start anew when a secret value changes that is known while planning.
func (r *renderer) depend(ref SecretRef) {
	if value, known := r.SecretValue(ref); known {
		r.content["secret "+ref.Name+"/"+ref.Key] = r.Fingerprint(value)
	}
}

// variableName refuses what the API server refuses: names of printable ASCII without "=".
func (r *renderer) variableName(c *score.Container, v score.Variable) {
	for _, b := range []byte(v.Name) {
		if b < ' ' || b > '~' || b == '=' {
			r.bad(fault.RenderName, v.At, "container %s has a variable %q; Kubernetes takes printable ASCII without = in names", c.Name, v.Name)
			return
		}
	}
}

func fromSecret(ref SecretRef) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: ref.Name}, Key: ref.Key,
	}}
}

// helperName is the name of the variable that carries a secret into a composed one.
func helperName(ref SecretRef) string {
	sum := sha256.Sum256([]byte(ref.Name + "\x00" + ref.Key))
	return "__SECRET_" + strings.ToUpper(hex.EncodeToString(sum[:6]))
}

// digest is a short hash of named contents.
func digest(content map[string]string) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(content)) {
		fmt.Fprintf(h, "%d %s %d %s", len(name), name, len(content[name]), content[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
