package platform

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
)

// Files is a platform configuration as it is stored: contents by path, with forward slashes, relative to its root.
type Files map[string]string

// Platform is one valid version of the platform configuration. It is immutable.
type Platform struct {
	// Digest is the SHA-256 of the files and of the provisioners that are built in, in hexadecimal digits: the same
	// digest means the same decisions.
	Digest string
	// Environments by name.
	Environments map[string]*Environment
	// Provisioners in the order in which they are asked: the first that matches fulfils a resource.
	Provisioners []*Provisioner
	// Paths are the golden paths.
	Paths golden.Set
	// files are what it was made of.
	files Files
}

// PathTexts returns the texts of a golden path and of those that it uses, by name: a run keeps those that it began with.
func (p *Platform) PathTexts(name string) map[string]string {
	all, out := p.files.paths(), map[string]string{}
	for _, used := range p.Paths.Reach(name) {
		out[used] = all[used]
	}
	return out
}

// paths returns the texts of golden paths by name.
func (files Files) paths() map[string]string {
	out := map[string]string{}
	for name, text := range files {
		if directory, base := path.Split(name); directory == "paths/" && strings.HasSuffix(base, ".yaml") {
			out[strings.TrimSuffix(base, ".yaml")] = text
		}
	}
	return out
}

// LoadPaths reads golden paths by name, as [Platform.PathTexts] gives them.
func LoadPaths(texts map[string]string) (golden.Set, fault.List) {
	files := map[string]string{}
	for name := range texts {
		files[name] = "paths/" + name + ".yaml"
	}
	return golden.Load(texts, files)
}

// Environment returns the environment of a name, or a fault that suggests the nearest one.
func (p *Platform) Environment(name string) (*Environment, error) {
	if e := p.Environments[name]; e != nil {
		return e, nil
	}
	names := slices.Sorted(maps.Keys(p.Environments))
	return nil, fault.New(fault.EnvironmentUnknown, "there is no environment %q in the platform configuration", name).
		Suggest(fault.Nearest(name, names))
}

// Provisioner returns the first provisioner for a resource, or nil.
func (p *Platform) Provisioner(kind, class, id string) *Provisioner {
	for _, candidate := range p.Provisioners {
		if candidate.Matches(kind, class, id) {
			return candidate
		}
	}
	return nil
}

// Types returns the resource types that the platform can fulfil, sorted.
func (p *Platform) Types() []string {
	types := map[string]bool{}
	for _, v := range p.Provisioners {
		types[v.Type] = true
	}
	return slices.Sorted(maps.Keys(types))
}

// settings is the content of platform.yaml.
type settings struct {
	// Defaults for every environment.
	Defaults Defaults `yaml:"defaults"`
	// BuiltInProvisioners adds the built-in provisioners after the platform's own. Default true.
	BuiltInProvisioners *bool `yaml:"builtInProvisioners"`
}

//go:embed builtin/*.provisioners.yaml
var builtin embed.FS

// BuiltIn returns the files of the provisioners that are built in.
func BuiltIn() Files {
	files, err := Read(builtin)
	if err != nil {
		panic(err) // the files are part of the binary
	}
	return files
}

// fileLimit is the largest file of a platform configuration, in bytes: the largest real set of provisioners known has
// 60 kB in one file.
const fileLimit = 4 << 20

// depthLimit is how many folders below each other are read; links could go round in a circle.
const depthLimit = 8

// Read returns all YAML files below the root of a file system. Links are followed, for that is how Kubernetes mounts a
// ConfigMap; folders whose names begin with a dot are left out.
func Read(root fs.FS) (Files, error) {
	files := Files{}
	if err := files.read(root, ".", 0); err != nil {
		return nil, fmt.Errorf("read platform configuration: %w", err)
	}
	return files, nil
}

func (files Files) read(root fs.FS, directory string, depth int) error {
	if depth > depthLimit {
		return fault.New(fault.ConfigValue, "more than %d folders below each other", depthLimit).At(fault.Place{File: directory})
	}
	entries, err := fs.ReadDir(root, directory)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join(directory, entry.Name())
		linked := entry.Type()&fs.ModeSymlink != 0
		if !isYAML(name) && !entry.IsDir() && !linked {
			continue
		}
		info, err := fs.Stat(root, name)
		switch {
		case err != nil && linked && !isYAML(name):
			continue // a link to nowhere, as editors leave them
		case err != nil:
			return err
		case info.IsDir() && !strings.HasPrefix(entry.Name(), "."):
			err = files.read(root, name, depth+1)
		case info.Mode().IsRegular() && isYAML(name):
			err = files.take(root, name, info.Size())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (files Files) take(root fs.FS, name string, size int64) error {
	if size > fileLimit {
		return fault.New(fault.ConfigValue, "the file has %d bytes, more than the limit of %d", size, fileLimit).
			At(fault.Place{File: name})
	}
	content, err := fs.ReadFile(root, name)
	files[name] = string(content)
	return err
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// Load validates files as a whole. It returns a platform only if nothing in them stops; warnings may come with it.
func Load(files Files) (*Platform, fault.List) {
	l := loader{platform: &Platform{Environments: map[string]*Environment{}, files: files}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		l.file(name, []byte(files[name]))
	}
	if l.settings.BuiltInProvisioners == nil || *l.settings.BuiltInProvisioners {
		own := BuiltIn()
		for _, name := range slices.Sorted(maps.Keys(own)) {
			l.provisioners(name, []byte(own[name]))
		}
	}
	l.apart()
	l.paths(files)
	for _, e := range l.platform.Environments {
		e.Defaults = e.Own.over(l.settings.Defaults).over(builtInDefaults)
	}
	l.platform.Digest = files.Digest()
	l.faults.Sort()
	if l.faults.Err() != nil {
		return nil, l.faults
	}
	return l.platform, l.faults
}

// Digest is the [Platform.Digest] that the files have if they are valid.
func (files Files) Digest() string {
	h := sha256.New()
	for _, set := range []Files{files, BuiltIn()} {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			fmt.Fprintf(h, "%d %s %d %s", len(name), name, len(set[name]), set[name])
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

type loader struct {
	platform *Platform
	settings settings
	faults   fault.List
}

func (l *loader) file(name string, content []byte) {
	directory, base := path.Split(name)
	switch {
	case name == "platform.yaml":
		l.faults = append(l.faults, document.Decode(name, content, &l.settings)...)
		l.faults = append(l.faults, l.settings.Defaults.check(document.Read(name, content))...)
	case strings.HasSuffix(base, ".provisioners.yaml"):
		l.provisioners(name, content)
	case directory == "environments/" && strings.HasSuffix(base, ".yaml"):
		l.environment(name, strings.TrimSuffix(base, ".yaml"), content)
	case directory == "paths/" && strings.HasSuffix(base, ".yaml"):
		// All of them are read together below.
	default:
		l.faults = append(l.faults, fault.New(fault.PlatformFile,
			"the file has no meaning in a platform configuration").At(fault.Place{File: name}).Warn())
	}
}

// apart refuses environments that would delete each other's manifests because they write to one place, or one into the
// folder of another.
func (l *loader) apart() {
	type place struct{ root, path, environment string }
	var taken []place
	for _, name := range slices.Sorted(maps.Keys(l.platform.Environments)) {
		t := l.platform.Environments[name].Target
		folders := t.folders()
		for _, root := range slices.Sorted(maps.Keys(folders)) {
			folder := folders[root]
			for _, other := range taken {
				if other.root == root && (within(folder, other.path) || within(other.path, folder)) {
					l.faults = append(l.faults, fault.New(fault.ConfigValue, "environment %s writes to %q, and %s to %q: one is the other or inside it",
						name, folder, other.environment, other.path).At(t.At))
				}
			}
			taken = append(taken, place{root, folder, name})
		}
	}
}

// folders returns the folders that a target writes to, by what they are in: the disk, or a branch of a repository.
func (t Target) folders() map[string]string {
	folders := map[string]string{}
	if t.Directory != nil {
		folders["disk"] = path.Clean(t.Directory.Path)
	}
	if g := t.GitOps; g != nil {
		folders[g.Repository+" "+g.Branch] = g.Path
		if g.Secrets != "" {
			folders["disk"] = path.Clean(g.Secrets)
		}
	}
	return folders
}

// within says whether a folder is another one or inside it.
func within(folder, outer string) bool {
	return folder == outer || outer == "." && !path.IsAbs(folder) || strings.HasPrefix(folder, strings.TrimSuffix(outer, "/")+"/")
}

// paths reads the golden paths, and sees that those of environments deploy.
func (l *loader) paths(files Files) {
	var found fault.List
	l.platform.Paths, found = LoadPaths(files.paths())
	l.faults = append(l.faults, found...)
	if found.Err() != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(l.platform.Environments)) {
		e, file := l.platform.Environments[name], "environments/"+name+".yaml"
		if e.Path == "" {
			continue
		}
		if err := l.platform.Paths.Deploys(e.Path); err != nil {
			f, ok := fault.As(err)
			if !ok {
				f = fault.New(fault.ConfigValue, "%w", err)
			}
			l.faults = append(l.faults, document.Read(file, []byte(files[file])).Tell(f, "path"))
		}
	}
}

func (l *loader) environment(file, name string, content []byte) {
	e := &Environment{Name: name}
	found := document.Decode(file, content, &e.environmentFile)
	if found.Err() == nil {
		found = append(found, e.check(file, document.Read(file, content))...)
	}
	l.faults = append(l.faults, found...)
	l.platform.Environments[name] = e
}

func (l *loader) provisioners(file string, content []byte) {
	var list []*Provisioner
	l.faults = append(l.faults, document.Decode(file, content, &list)...)
	for _, p := range list {
		if p != nil {
			l.faults = append(l.faults, p.check(content)...)
			l.platform.Provisioners = append(l.platform.Provisioners, p)
		}
	}
}
