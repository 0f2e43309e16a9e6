package planner

import (
	"encoding/json"
	"slices"
)

// Images are the container images that a release's objects run, sorted.
func (r *Release) Images() (list []string) {
	for _, o := range r.Objects {
		var body any
		if json.Unmarshal(o.Body, &body) == nil {
			list = append(list, images(body)...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// images finds the images of containers at any depth: of Pods, of what makes them, and of what makes those.
func images(v any) (list []string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			list = append(list, images(item)...)
		}
	case map[string]any:
		for key, item := range v {
			if containers, ok := item.([]any); ok && (key == "containers" || key == "initContainers") {
				for _, c := range containers {
					if image, ok := field(c, "image"); ok {
						list = append(list, image)
					}
				}
				continue
			}
			list = append(list, images(item)...)
		}
	}
	return list
}

func field(v any, name string) (string, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return "", false
	}
	text, ok := m[name].(string)
	return text, ok
}
