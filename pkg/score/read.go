package score

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/innominatus/reconciler/pkg/fault"
)

// documents returns the YAML documents of a file that could be read, nil for an empty one. What could not be read is
// in the report.
func (r *report) documents(src *source) []*Node {
	if f := refuse(src); f != nil {
		r.add(f)
		return nil
	}
	if docs, ok := quickly(src); ok {
		return docs
	}
	return r.parse(src)
}

// refuse says what is wrong with a file before it is parsed, or nil.
func refuse(src *source) *fault.Fault {
	if len(src.data) > maxSize {
		return fault.New(fault.ScoreLimit, "the file has %d bytes; at most %d are read", len(src.data), maxSize).
			At(fault.Place{File: src.name})
	}
	if i := bytes.IndexByte(src.data, 0); i >= 0 {
		return fault.New(fault.ScoreEncoding, "the file contains a NUL byte; is it a text file?").At(src.at(i))
	}
	if !src.ascii {
		for i := 0; i < len(src.data); {
			c, size := utf8.DecodeRune(src.data[i:])
			if c == utf8.RuneError && size == 1 {
				return fault.New(fault.ScoreEncoding, "byte 0x%02x is not UTF-8", src.data[i]).At(src.at(i))
			}
			i += size
		}
	}
	return nil
}

// parse reads all documents with the YAML library.
func (r *report) parse(src *source) []*Node {
	limits := loaderlimits.New(loaderlimits.DepthFunc(func(depth int, _ *loaderlimits.DepthContext) error {
		if depth > maxDepth {
			return errDepth
		}
		return nil
	}))
	l, err := yaml.NewLoader(bytes.NewReader(src.data), yaml.WithPlugin(limits))
	if err != nil {
		r.add(fault.New(fault.Internal, "start the YAML parser: %w", err))
		return nil
	}
	var out []*Node
	b := builder{report: r, src: src}
	for {
		var doc yaml.Node
		err := loadNext(l, &doc)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			r.add(syntaxFault(src, err))
			return out
		}
		before := r.stopping
		out = append(out, b.document(&doc))
		if r.stopping > before {
			r.breaks(out[len(out)-1])
		}
		if b.spent > maxNodes {
			return out
		}
	}
}

// errPanic marks a panic of the YAML library: input that it was not made for must not end the process.
var errPanic = errors.New("the YAML parser gave up")

// errDepth is what the depth check tells the YAML library.
var errDepth = fmt.Errorf("nested deeper than %d levels", maxDepth)

func loadNext(l *yaml.Loader, doc *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return l.Load(doc)
}

// builder turns the nodes of the YAML library into ours.
type builder struct {
	*report
	src *source
	// spent counts values, aliases as if written out.
	spent int
	// anchors holds what aliases may point at; nil while the anchored value is still being read.
	anchors map[*yaml.Node]*anchored
	stopped bool
}

// anchored is a value with an anchor.
type anchored struct {
	node *Node
	// size and height are those of the value with its aliases written out.
	size, height int
}

func (b *builder) document(doc *yaml.Node) *Node {
	b.anchors, b.stopped = nil, false
	if len(doc.Content) == 0 {
		return nil
	}
	n, _ := b.node(doc.Content[0], 1)
	if b.stopped {
		return nil
	}
	return n
}

// stop ends reading: a limit is passed. It is told once.
func (b *builder) stop(at fault.Place, format string, args ...any) {
	if !b.stopped {
		b.stopped = true
		b.add(fault.New(fault.ScoreLimit, format, args...).At(at))
	}
}

// node returns the value of n and its height.
func (b *builder) node(n *yaml.Node, depth int) (*Node, int) {
	at := b.src.place(n.Line, n.Column)
	if !b.room(at, 1, depth) {
		return nil, 0
	}
	if n.Kind == yaml.AliasNode {
		b.spent--
		return b.alias(n, at, depth)
	}
	var a *anchored
	before := b.spent
	if n.Anchor != "" {
		if b.anchors == nil {
			b.anchors = map[*yaml.Node]*anchored{}
		}
		a = &anchored{}
		b.anchors[n] = a
	}
	out, height := b.content(n, at, depth)
	if a != nil {
		*a = anchored{node: out, size: b.spent - before + 1, height: height}
	}
	return out, height
}

// room takes n values from the budget and looks at the depth.
func (b *builder) room(at fault.Place, n, depth int) bool {
	if b.stopped {
		return false
	}
	b.spent += n
	if b.spent > maxNodes {
		b.stop(at, "the file has more than %d values, aliases counted as if written out", maxNodes)
		return false
	}
	if depth > maxDepth {
		b.stop(at, "the file is %s", errDepth.Error())
		return false
	}
	return true
}

func (b *builder) alias(n *yaml.Node, at fault.Place, depth int) (*Node, int) {
	a := b.anchors[n.Alias]
	if a == nil || a.node == nil {
		b.add(fault.New(fault.ScoreAlias, "the alias *%s is inside the value that it stands for", n.Value).At(at))
		return &Node{Place: at}, 1
	}
	if !b.room(at, a.size, depth+a.height-1) {
		return nil, 0
	}
	return a.node, a.height
}

func (b *builder) content(n *yaml.Node, at fault.Place, depth int) (*Node, int) {
	out := &Node{Place: at}
	switch n.Kind {
	case yaml.ScalarNode:
		b.scalar(out, n)
		return out, 1
	case yaml.SequenceNode:
		b.tagged(n, at, "!!seq")
		out.Kind = List
		out.Items = make([]*Node, 0, len(n.Content))
		height := 0
		for _, c := range n.Content {
			item, h := b.node(c, depth+1)
			out.Items, height = append(out.Items, item), max(height, h)
		}
		return out, height + 1
	default:
		b.tagged(n, at, "!!map")
		out.Kind = Map
		return out, b.entries(out, n, depth) + 1
	}
}

// tagged tells about a tag that means nothing here.
func (b *builder) tagged(n *yaml.Node, at fault.Place, standard ...string) {
	if n.Style&yaml.TaggedStyle == 0 || n.Tag == "" || n.Tag == "!" || slices.Contains(standard, n.ShortTag()) {
		return
	}
	b.add(fault.New(fault.ScoreTag, "the tag %s means nothing in a Score file", n.ShortTag()).At(at))
}
