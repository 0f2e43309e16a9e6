package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// filesLimit is what Kubernetes takes in one ConfigMap or Secret, in bytes of all values together.
const filesLimit = 1 << 20

// files renders a container's files: one ConfigMap, one Secret for those that hold secret values, and references to
// existing Secrets, all in one projected volume. Each file is mounted on its own by subPath, so that nothing else in its
// directory is hidden.
func (r *renderer) files(c *score.Container) []corev1.VolumeMount {
	if len(c.Files) == 0 {
		return nil
	}
	set := fileSet{r: r, container: c, name: r.w.Name + "-" + c.Name + "-files"}
	volume := "files-" + c.Name
	if len(set.name) > 253 || len(volume) > 63 {
		sum := sha256.Sum256([]byte(c.Name))
		volume = "files-" + hex.EncodeToString(sum[:8])
	}
	var mounts []corev1.VolumeMount
	for i := range c.Files {
		f := &c.Files[i]
		if !path.IsAbs(f.Target) || path.Clean(f.Target) != f.Target || f.Target == "/" || strings.ContainsFunc(f.Target, unfitForTarget) {
			r.bad(fault.RenderMount, f.At, "a file's target must be an absolute path without ., .., colons and control characters, got %q", f.Target)
			continue
		}
		if set.add(f) {
			mounts = append(mounts, corev1.VolumeMount{Name: volume, MountPath: f.Target, SubPath: fileKey(f.Target), ReadOnly: true})
		}
	}
	set.render(volume)
	return mounts
}

type fileSet struct {
	r         *renderer
	container *score.Container
	name      string
	text      map[string]string
	binary    map[string][]byte
	secret    map[string]string
	size      int
	config    []corev1.KeyToPath
	hidden    []corev1.KeyToPath
	sources   []corev1.VolumeProjection
}

var unfitForKey = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// fileKey is a file's key in its ConfigMap: its base name to read, and a hash of its whole path to be unique.
func fileKey(target string) string {
	sum := sha256.Sum256([]byte(target))
	base := unfitForKey.ReplaceAllString(path.Base(target), "_")
	return hex.EncodeToString(sum[:5]) + "-" + base[:min(len(base), 100)]
}

func (s *fileSet) add(f *score.File) bool {
	r, key := s.r, fileKey(f.Target)
	item := corev1.KeyToPath{Key: key, Path: key, Mode: mode(f.Mode)}
	raw, at, ok := s.raw(f)
	if !ok {
		return false
	}
	if f.NoExpand || f.Binary != nil {
		s.plain(item, raw)
		return true
	}
	parts, err := r.Resolve(string(raw), at)
	if err != nil {
		r.note(err, at)
		return false
	}
	if len(parts) == 1 && parts[0].Secret != nil {
		item.Key = parts[0].Secret.Key
		r.depend(*parts[0].Secret)
		s.sources = append(s.sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: parts[0].Secret.Name}, Items: []corev1.KeyToPath{item},
		}})
		return true
	}
	return s.composed(f, item, parts)
}

// raw returns a file's content before placeholders are replaced.
func (s *fileSet) raw(f *score.File) (content []byte, at fault.Place, ok bool) {
	switch {
	case f.Content != nil:
		return []byte(*f.Content), f.ContentAt, true
	case f.Binary != nil:
		return f.Binary, f.ContentAt, true
	default:
		content, err := s.r.Source(f.Source, f.ContentAt)
		if err != nil {
			s.r.note(err, f.ContentAt)
			return nil, f.ContentAt, false
		}
		return content, fault.Place{File: path.Join(path.Dir(s.r.w.File), f.Source), Line: 1, Column: 1}, true
	}
}

func (s *fileSet) composed(f *score.File, item corev1.KeyToPath, parts []Part) bool {
	var text strings.Builder
	secret := false
	for _, p := range parts {
		if p.Secret == nil {
			text.WriteString(p.Text)
			continue
		}
		value, known := s.r.SecretValue(*p.Secret)
		if !known {
			s.r.bad(fault.RenderSecret, f.ContentAt, "file %s mixes text with key %s of Secret %s, whose value is not known while planning",
				f.Target, p.Secret.Key, p.Secret.Name)
			return false
		}
		secret = true
		text.WriteString(value)
	}
	if !secret {
		s.plain(item, []byte(text.String()))
		return true
	}
	if s.secret == nil {
		s.secret = map[string]string{}
	}
	s.secret[item.Key] = text.String()
	s.size += text.Len()
	s.hidden = append(s.hidden, item)
	return true
}

func (s *fileSet) plain(item corev1.KeyToPath, content []byte) {
	s.size += len(content)
	s.config = append(s.config, item)
	if utf8.Valid(content) {
		if s.text == nil {
			s.text = map[string]string{}
		}
		s.text[item.Key] = string(content)
		return
	}
	if s.binary == nil {
		s.binary = map[string][]byte{}
	}
	s.binary[item.Key] = content
}

func (s *fileSet) render(volume string) {
	r := s.r
	if s.size > filesLimit {
		r.bad(fault.RenderSize, s.container.At, "the files of container %s have %d bytes together, Kubernetes takes %d",
			s.container.Name, s.size, filesLimit)
		return
	}
	if s.config != nil {
		r.objects = append(r.objects, &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: r.meta(s.name), Data: s.text, BinaryData: s.binary,
		})
		s.sources = append(s.sources, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: s.name}, Items: s.config,
		}})
	}
	if s.hidden != nil {
		r.objects = append(r.objects, &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: r.meta(s.name), StringData: s.secret,
		})
		s.sources = append(s.sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: s.name}, Items: s.hidden,
		}})
	}
	if s.sources == nil {
		return
	}
	for key, content := range s.text {
		r.content[s.name+"/"+key] = content
	}
	for key, content := range s.binary {
		r.content[s.name+"/"+key] = string(content)
	}
	for key, content := range s.secret {
		r.content[s.name+"/"+key] = r.Fingerprint(content)
	}
	slices.SortFunc(s.sources, func(a, b corev1.VolumeProjection) int { return strings.Compare(projectionName(a), projectionName(b)) })
	r.spec.Volumes = append(r.spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: s.sources},
	}})
}

func projectionName(p corev1.VolumeProjection) string {
	if p.ConfigMap != nil {
		return "0" + p.ConfigMap.Name
	}
	return "1" + p.Secret.Name + p.Secret.Items[0].Path
}

// mode turns the specification's octal text into Kubernetes' number; "" leaves the default of 0644.
func mode(text string) *int32 {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseInt(text, 8, 32)
	if err != nil {
		return nil // the schema allows octal digits only
	}
	return new(int32(n))
}
