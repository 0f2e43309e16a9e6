package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// maxRefs is how many refs of one remote are read: the largest public repositories have about a million with those of
	// pull requests, and they are asked for by prefix.
	maxRefs = 1 << 20
	// maxRefName is the longest name of a ref, in bytes; file systems of servers end at 4096 for the path.
	maxRefName = 4096
	// maxAdvertisement bounds an answer with refs, in bytes: maxRefs of ordinary length.
	maxAdvertisement = 128 << 20
)

// Refs is what a remote has below the prefixes that were asked for.
type Refs struct {
	// Commits holds the full names (refs/heads/main) with the hash that they point to; for an annotated tag that is the
	// commit behind it.
	Commits map[string]Hash
	// Head is the full name of the default branch, "" if the remote does not say. In an empty repository the branch does
	// not exist yet.
	Head string
}

// ListRefs asks a remote for its refs below prefixes; none means all. An empty repository has no refs, which is an
// answer, not an error. A prefix is compared as text: refs/heads/main finds refs/heads/main-2 too.
func (c *Client) ListRefs(ctx context.Context, r Remote, prefixes ...string) (Refs, error) {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	_, remembered := c.recall(r)
	refs, err := c.listRefs(ctx, r, prefixes)
	if _, still := c.recall(r); err != nil && remembered && !still && ctx.Err() == nil {
		refs, err = c.listRefs(ctx, r, prefixes) // what was remembered is out of date
	}
	if err != nil {
		return Refs{}, fmt.Errorf("list refs of %s: %w", r, err)
	}
	return refs, nil
}

func (c *Client) listRefs(ctx context.Context, r Remote, prefixes []string) (Refs, error) {
	a, err := c.advertised(ctx, r)
	if err != nil {
		return Refs{}, err
	}
	if a.version != 2 {
		return a.refs.below(prefixes), nil
	}
	w := &pktWriter{}
	w.linef("command=ls-refs\n")
	w.linef("agent=%s\n", c.config.Agent)
	w.linef("object-format=sha1\n")
	w.delim()
	w.linef("peel\n")
	w.linef("symrefs\n")
	if a.can("ls-refs", "unborn") {
		w.linef("unborn\n")
	}
	if len(prefixes) > 0 {
		w.linef("ref-prefix HEAD\n")
		for _, p := range prefixes {
			w.linef("ref-prefix %s\n", p)
		}
	}
	w.flush()
	body, err := c.post(ctx, r, a, w)
	if err != nil {
		return Refs{}, err
	}
	defer body.Close()
	refs, err := parseLsRefs(io.LimitReader(body, maxAdvertisement))
	if err != nil {
		c.forget(r)
		return Refs{}, explain(ctx, err)
	}
	return refs.below(prefixes), nil
}

// below keeps the refs that begin with one of the prefixes; none keeps all.
func (r Refs) below(prefixes []string) Refs {
	if len(prefixes) == 0 {
		return r
	}
	out := Refs{Commits: map[string]Hash{}, Head: r.Head}
	for name, h := range r.Commits {
		for _, p := range prefixes {
			if strings.HasPrefix(name, p) {
				out.Commits[name] = h
				break
			}
		}
	}
	return out
}

// advertisement is what a remote says that it can do.
type advertisement struct {
	version int
	// base is where redirects led to.
	base *url.URL
	// capabilities hold "name" or "name" with its values.
	capabilities map[string]string
	// refs are told at once by versions 0 and 1.
	refs Refs
	// direct is what refs point to before tags are followed: what versions 0 and 1 let us ask for.
	direct map[string]Hash
}

// can says whether the remote has a capability, and the value among its values if one is given.
func (a advertisement) can(name, value string) bool {
	values, ok := a.capabilities[name]
	if value == "" {
		return ok
	}
	for v := range strings.FieldsSeq(values) {
		if v == value {
			return true
		}
	}
	return false
}

// advertised returns what the remote can do, remembered if it speaks version 2.
func (c *Client) advertised(ctx context.Context, r Remote) (advertisement, error) {
	if a, ok := c.recall(r); ok {
		return a, nil
	}
	base, auth, err := r.endpoint()
	if err != nil {
		return advertisement{}, err
	}
	a, err := c.advertise(ctx, request{auth: auth, service: uploadPack, base: base, version: 2})
	if err != nil {
		return advertisement{}, err
	}
	if a.version == 2 {
		c.remember(r, a)
	}
	return a, nil
}

func (c *Client) advertise(ctx context.Context, q request) (advertisement, error) {
	body, final, err := c.do(ctx, q)
	if err != nil {
		return advertisement{}, err
	}
	defer body.Close()
	a, err := parseAdvertisement(io.LimitReader(body, maxAdvertisement))
	if err != nil {
		return advertisement{}, explain(ctx, err)
	}
	if format, ok := a.capabilities["object-format"]; ok && format != "sha1" {
		return advertisement{}, fault.New(fault.GitFormatUnsupported, "the repository has %s object names", plain(format))
	}
	a.base = final
	a.base.Path, a.base.RawQuery = strings.TrimSuffix(final.Path, "/info/refs"), ""
	return a, nil
}

// parseAdvertisement reads the answer to info/refs in any version of the protocol.
func parseAdvertisement(r io.Reader) (advertisement, error) {
	pkts := newPktReader(r)
	a := advertisement{capabilities: map[string]string{}, refs: Refs{Commits: map[string]Hash{}}, direct: map[string]Hash{}}
	line, ok, err := pkts.line()
	if err == nil && ok && strings.HasPrefix(line, "# service=") {
		if _, ok, err = pkts.line(); err == nil && ok {
			return a, fmt.Errorf("%w: no flush after the service", errAnswer)
		}
		line, ok, err = pkts.line()
	}
	switch {
	case errors.Is(err, io.EOF):
		return a, fmt.Errorf("%w: nothing", errAnswer)
	case err != nil:
		return a, err
	case ok && line == "version 2":
		a.version = 2
		return a, a.readCapabilities(pkts)
	case ok && line == "version 1":
		a.version = 1
		line, ok, err = pkts.line()
	}
	for ; err == nil && ok; line, ok, err = pkts.line() {
		if err := a.addRef(line); err != nil {
			return a, err
		}
	}
	return a, ended(err)
}

// ended makes an end before the flush an error that says so.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (a *advertisement) readCapabilities(pkts *pktReader) error {
	line, ok, err := pkts.line()
	for ; err == nil && ok; line, ok, err = pkts.line() {
		name, value, _ := strings.Cut(line, "=")
		a.capabilities[name] = value
	}
	return ended(err)
}

// addRef takes a line of versions 0 and 1: the hash, the name, and after the first name a zero byte and capabilities.
func (a *advertisement) addRef(line string) error {
	line, capabilities, _ := strings.Cut(line, "\x00")
	for word := range strings.FieldsSeq(capabilities) {
		name, value, _ := strings.Cut(word, "=")
		if target, isHead := strings.CutPrefix(value, "HEAD:"); name == "symref" && isHead {
			a.refs.Head = target
			continue
		}
		a.capabilities[name] = value
	}
	id, name, ok := strings.Cut(line, " ")
	h, err := ParseHash(id)
	if strings.HasPrefix(line, "shallow ") {
		return nil
	}
	if !ok || err != nil {
		return fmt.Errorf("%w: no ref in %.80q", errAnswer, line)
	}
	if tag, peeled := strings.CutSuffix(name, "^{}"); peeled {
		name = tag
	} else {
		a.direct[name] = h
	}
	if name == "capabilities" || name == "HEAD" {
		return nil
	}
	return a.refs.add(name, h)
}

func (r *Refs) add(name string, h Hash) error {
	if name == "" || len(name) > maxRefName || h == "" {
		return fmt.Errorf("%w: ref %.80q at %q", errAnswer, name, h)
	}
	if len(r.Commits) >= maxRefs {
		return fmt.Errorf("%w: more than %d refs", errAnswer, maxRefs)
	}
	r.Commits[name] = h
	return nil
}

// parseLsRefs reads the answer to ls-refs: hash or "unborn", name, and attributes.
func parseLsRefs(r io.Reader) (Refs, error) {
	pkts := newPktReader(r)
	refs := Refs{Commits: map[string]Hash{}}
	line, ok, err := pkts.line()
	for ; err == nil && ok; line, ok, err = pkts.line() {
		if err := refs.addLine(line); err != nil {
			return Refs{}, err
		}
	}
	return refs, ended(err)
}

func (r *Refs) addLine(line string) error {
	words := strings.Split(line, " ")
	if len(words) < 2 {
		return fmt.Errorf("%w: no ref in %.80q", errAnswer, line)
	}
	id, name, peeled := words[0], words[1], ""
	for _, word := range words[2:] {
		if target, ok := strings.CutPrefix(word, "symref-target:"); ok && name == "HEAD" {
			r.Head = target
		}
		if h, ok := strings.CutPrefix(word, "peeled:"); ok {
			peeled = h
		}
	}
	if name == "HEAD" || id == "unborn" {
		return nil
	}
	if peeled != "" {
		id = peeled
	}
	h, err := ParseHash(id)
	if err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return r.add(name, h)
}
