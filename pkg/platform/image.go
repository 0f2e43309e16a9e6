package platform

import (
	"path"
	"slices"
	"strings"
)

// Image divides the name of a container image into its place, its tag and its digest, "" for what it does not have.
func Image(image string) (name, tag, digest string) {
	name, digest, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	return name, tag, digest
}

// Matches says whether one of the patterns fits the place of an image.
func Matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if below, ok := strings.CutSuffix(pattern, "/**"); ok {
			return strings.HasPrefix(name, below+"/")
		}
		matched, _ := path.Match(pattern, name) // patterns are checked when the platform is loaded
		return matched
	})
}
