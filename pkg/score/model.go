package score

import "github.com/innominatus/reconciler/pkg/fault"

// Workload is the content of one Score document after overrides. All lists are sorted by name (or by target), so that
// the same workload always reads the same. Places are where the thing's key stands, unless said otherwise.
type Workload struct {
	// File is the name of the file, and Document the number of the YAML document in it, from 0.
	File     string
	Document int
	Name     string
	At       fault.Place // of the first key
	NameAt   fault.Place // of the name's value
	// Annotations are those of metadata.annotations.
	Annotations []Annotation
	Metadata    *Node
	Ports       []Port
	Containers  []Container
	Resources   []Resource
	// Root is the whole tree.
	Root *Node

	sources []*source
}

// Annotation is a note of metadata.annotations.
type Annotation struct {
	Name, Value string
	At          fault.Place
}

// Port is an entry of service.ports.
type Port struct {
	Name string
	// Port is where the service listens, TargetPort where the container does (the same when absent); 1 to 65535.
	Port, TargetPort int
	// Protocol is TCP (also when absent) or UDP.
	Protocol string
	At       fault.Place
}

// Container is an entry of containers.
type Container struct {
	Name string
	// Image is "." when it is given at deploy time.
	Image   string
	ImageAt fault.Place // of the value
	// Command and Args are nil when absent, and empty when written as [].
	Command, Args       []string
	Variables           []Variable
	Files               []File
	Volumes             []Volume
	Before              []Before
	Limits, Requests    Amounts
	Liveness, Readiness *Probe
	At                  fault.Place
}

// Variable is an environment variable. Value has its placeholders.
type Variable struct {
	Name, Value string
	At          fault.Place // of the value
}

// File is a file mounted into a container; exactly one of Source, Content and Binary is set.
type File struct {
	Target string
	// Mode is three or four octal digits, "" when absent.
	Mode string
	// Source is a path, relative to the Score file's folder; "" when the content is inline.
	Source string
	// Content has its placeholders; nil when the content is not inline text.
	Content *string
	// Binary is the decoded binaryContent; nil when the content is not binary, not nil when it is empty.
	Binary []byte
	// NoExpand says that placeholders in the content stay as they are.
	NoExpand  bool
	At        fault.Place
	ContentAt fault.Place // of the value of source, content or binaryContent
}

// Volume is a volume mounted into a container. Source has its placeholders.
type Volume struct {
	Target, Source string
	// Path is the path inside the volume, "" for its root.
	Path     string
	ReadOnly bool
	At       fault.Place
	SourceAt fault.Place // of the value
}

// Before says that this container starts after another one has reached a state.
type Before struct {
	Container string
	Ready     string // started, healthy or complete
	At        fault.Place
}

// Amounts are quantities as they are written, "" when absent.
type Amounts struct {
	CPU, Memory     string
	CPUAt, MemoryAt fault.Place // of the values
	At              fault.Place
}

// Probe has at least one of its fields.
type Probe struct {
	HTTPGet *HTTPGet
	Exec    *Exec
	At      fault.Place
}

// HTTPGet is a probe by HTTP. Host is "" when absent, Scheme HTTP (also when absent) or HTTPS.
type HTTPGet struct {
	Host, Scheme, Path string
	Port               int
	Headers            []Header // in the order of the file
	At                 fault.Place
	HostAt             fault.Place // of the value
}

// Header is an HTTP header of a probe.
type Header struct {
	Name, Value     string
	NameAt, ValueAt fault.Place // of the values
}

// Exec is a probe by a command in the container.
type Exec struct {
	Command   []string
	CommandAt fault.Place // of the value
	At        fault.Place
}

// Resource is an entry of resources: something that the platform provides.
type Resource struct {
	Name, Type string
	// Class is "default" when absent.
	Class string
	// ID is shared by resources that are one and the same; "" when absent.
	ID          string
	Annotations []Annotation
	// Metadata and Params are nil when absent. Params have their placeholders.
	Metadata, Params *Node
	At               fault.Place
	TypeAt           fault.Place // of the value
}

// Resource returns the resource of a name.
func (w *Workload) Resource(name string) (Resource, bool) {
	for _, r := range w.Resources {
		if r.Name == name {
			return r, true
		}
	}
	return Resource{}, false
}
