package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// ErrRejected: the branch is not where it was expected, so nothing was pushed.
var ErrRejected = errors.New("the branch moved")

// maxReport bounds the remote's answer to a push, in bytes: one line per ref and what hooks say.
const maxReport = 1 << 20

// Push makes a branch of the remote point to a commit of the mirror, if the branch is still at expect; "" expects that it
// does not exist. The commit must have expect in its history: nothing is ever overwritten. A branch that is at the commit
// already is fine, so a push whose answer was lost can be repeated.
//
// [ErrRejected] is in the chain of errors if the branch is elsewhere.
func (m *Mirror) Push(ctx context.Context, commit Hash, branch string, expect Hash) error {
	ctx, cancel := m.client.withTimeout(ctx)
	defer cancel()
	unlock, err := m.lock(ctx)
	if err != nil {
		return fmt.Errorf("push to %s: %w", m.remote, explain(ctx, err))
	}
	defer unlock()
	if err := m.push(ctx, commit, branch, expect); err != nil {
		return fmt.Errorf("push to %s of %s: %w", plain(branch), m.remote, explain(ctx, err))
	}
	return nil
}

func (m *Mirror) push(ctx context.Context, commit Hash, branch string, expect Hash) error {
	if !validBranch(branch) {
		return fault.New(fault.PathInvalid, "%.120q is not the name of a branch", branch)
	}
	if _, err := m.commitObject(commit); err != nil {
		return err
	}
	base, auth, err := m.remote.endpoint()
	if err != nil {
		return err
	}
	a, err := m.client.advertise(ctx, request{auth: auth, service: receivePack, base: base})
	if err != nil {
		return err
	}
	switch now := a.refs.Commits[heads+branch]; {
	case now == commit:
		return nil
	case now != expect:
		return moved(now, expect)
	case !a.can("report-status", ""):
		return fault.New(fault.GitProtocol, "the remote does not report what became of a push")
	}
	if expect != "" {
		if ok, err := m.IsAncestor(ctx, expect, commit); err != nil {
			return err
		} else if !ok {
			return fault.New(fault.PushConflict, "%s is not in the history of %s: %w", expect, commit, ErrRejected)
		}
	}
	f, err := m.packFor(ctx, commit, expect)
	if err != nil {
		return err
	}
	defer f.Close()
	defer func() { _ = os.Remove(f.Name()) }() // nothing else keeps it
	report, err := m.send(ctx, a, auth, f, pushCommand{branch, expect, commit})
	if err != nil {
		return err
	}
	if report == "" {
		return m.store.know(commit)
	}
	return m.judge(ctx, report, branch, expect)
}

func moved(now, expect Hash) error {
	return fault.New(fault.PushConflict, "the branch is at %s and not at %s: %w", now.wire(), expect.wire(), ErrRejected)
}

// judge finds out why a push was refused. The protocol has only words for that, so the branch itself is looked at.
func (m *Mirror) judge(ctx context.Context, report, branch string, expect Hash) error {
	refs, err := m.client.listRefs(ctx, m.remote, []string{heads + branch})
	if err != nil {
		return err
	}
	if now := refs.Commits[heads+branch]; now != expect {
		return moved(now, expect)
	}
	return fault.New(fault.PushRefused, "the remote says: %s", plain(report))
}

type pushCommand struct {
	branch string
	old    Hash
	new    Hash
}

// send sends a pack and the wish to move a branch, and returns what the remote has against it, "" for nothing.
func (m *Mirror) send(ctx context.Context, a advertisement, auth Auth, pack *os.File, p pushCommand) (string, error) {
	w := &pktWriter{}
	banded := a.can("side-band-64k", "")
	capabilities := "report-status agent=" + m.client.config.Agent
	if banded {
		capabilities += " side-band-64k"
	}
	w.linef("%s %s %s\x00%s", p.old.wire(), p.new.wire(), heads+p.branch, capabilities)
	w.flush()
	info, err := pack.Stat()
	if err != nil {
		return "", unwritable(err)
	}
	body, _, err := m.client.do(ctx, request{
		auth: auth, service: receivePack, base: a.base, length: int64(w.Len()) + info.Size(),
		body: io.MultiReader(&w.Buffer, io.NewSectionReader(pack, 0, info.Size())),
	})
	if err != nil {
		return "", err
	}
	defer body.Close()
	report := io.LimitReader(body, maxReport)
	band := &sideband{pkts: newPktReader(report)}
	if banded {
		report = band
	}
	problem, err := parseReport(report, heads+p.branch)
	if problem != "" && band.said.Len() > 0 {
		problem += ": " + band.said.String()
	}
	return problem, err
}

// parseReport reads the status report of a push: whether the pack was taken, and what became of the ref.
func parseReport(r io.Reader, ref string) (problem string, err error) {
	pkts := newPktReader(r)
	done := false
	line, ok, err := pkts.line()
	for ; err == nil && ok; line, ok, err = pkts.line() {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "unpack" && rest != "ok":
			problem = "the pack was not taken: " + rest
		case word == "ok" && rest == ref:
			done = true
		case word == "ng":
			problem = strings.TrimPrefix(rest, ref+" ")
		}
	}
	if err != nil {
		return "", ended(err)
	}
	if !done && problem == "" {
		return "", fmt.Errorf("%w: nothing about the branch", errAnswer)
	}
	return problem, nil
}

// validBranch follows the rules for names of refs. https://git-scm.com/docs/git-check-ref-format
func validBranch(name string) bool {
	if name == "" || len(name) > maxRefName || strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.ContainsAny(name, " ~^:?*[\\\x7f") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' })
}

// packFor writes the objects of a commit that the remote does not have: those of its history down to commits that were
// fetched, without what their parents hold.
func (m *Mirror) packFor(ctx context.Context, commit, expect Hash) (*os.File, error) {
	g := gatherer{from: m.store, known: map[oid]bool{}, taken: map[oid]bool{}}
	st, _ := m.store.snapshot()
	for _, h := range append([]Hash{expect}, st.Tips...) {
		if id, ok := h.oid(); ok {
			g.known[id] = true
		}
	}
	id, _ := commit.oid()
	for queue := []oid{id}; len(queue) > 0; queue = queue[1:] {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if g.known[queue[0]] || g.taken[queue[0]] {
			continue
		}
		parents, err := g.commit(queue[0])
		if err != nil {
			return nil, err
		}
		queue = append(queue, parents...)
	}
	f, err := m.store.temporary()
	if err != nil {
		return nil, err
	}
	if err := writePack(f, g.list); err != nil {
		f.Close()
		_ = os.Remove(f.Name()) // the error to tell is the one before
		return nil, err
	}
	return f, nil
}

// maxPush is the most that one push may hold in memory, in bytes: a hundred times a large set of manifests.
const maxPush = 256 << 20

// gatherer collects objects for a push.
type gatherer struct {
	from  objects
	known map[oid]bool
	taken map[oid]bool
	list  []object
	size  int
}

func (g *gatherer) take(id oid, k kind) (object, error) {
	g.taken[id] = true
	o, err := mustGet(g.from, id, k)
	if err != nil {
		return o, err
	}
	if g.size += len(o.data); g.size > maxPush {
		return o, fault.New(fault.PackTooLarge, "the push has more than %d MiB", maxPush>>20)
	}
	g.list = append(g.list, o)
	return o, nil
}

func (g *gatherer) commit(id oid) (parents []oid, err error) {
	o, err := g.take(id, kindCommit)
	if err != nil {
		return nil, err
	}
	c, err := parseCommit(o.data)
	if err != nil {
		return nil, fault.New(fault.TreeInvalid, "commit %s is malformed: %w", id.hash(), err)
	}
	var before oid
	if len(c.parents) > 0 {
		parent, err := readCommit(g.from, c.parents[0])
		if err != nil {
			return nil, err
		}
		before = parent.tree
	}
	return c.parents, g.tree(c.tree, before, "")
}

// tree takes a directory and what in it differs from the same directory before.
func (g *gatherer) tree(id, before oid, at string) error {
	if id == before || g.taken[id] {
		return nil
	}
	old := map[string]oid{}
	if before != (oid{}) {
		list, err := entries(g.from, before, at)
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.isTree() || e.isFile() {
				old[e.key()] = e.id
			}
		}
	}
	if _, err := g.take(id, kindTree); err != nil {
		return err
	}
	list, err := entries(g.from, id, at)
	if err != nil {
		return err
	}
	for _, e := range list {
		switch {
		case e.id == old[e.key()] || g.taken[e.id] || e.mode == modeSubmodule:
		case e.isTree():
			err = g.tree(e.id, old[e.key()], join(at, e.name))
		default:
			_, err = g.take(e.id, kindBlob)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
