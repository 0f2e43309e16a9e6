package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Commit is what a commit says about itself. Names and text are whatever somebody typed, in valid UTF-8.
type Commit struct {
	Hash    Hash
	Parents []Hash
	Author  Person
	// Committer made this commit of it; Time is when, in the committer's own clock and zone.
	Committer Person
	Time      time.Time
	// Subject is the first line of Message.
	Subject, Message string
}

// Person is an author or committer.
type Person struct{ Name, Email string }

// CommitInfo returns what a commit of the mirror says about itself.
func (m *Mirror) CommitInfo(ctx context.Context, h Hash) (Commit, error) {
	if err := context.Cause(ctx); err != nil {
		return Commit{}, err
	}
	c, err := m.commitObject(h)
	if err != nil {
		return Commit{}, fmt.Errorf("read commit: %w", err)
	}
	out := Commit{Hash: h, Time: c.committer.when, Message: strings.ToValidUTF8(c.message, "\uFFFD")}
	out.Subject, _, _ = strings.Cut(out.Message, "\n")
	out.Author, out.Committer = c.author.person, c.committer.person
	for _, p := range c.parents {
		out.Parents = append(out.Parents, p.hash())
	}
	return out, nil
}

// commitObject is a parsed commit.
type commitObject struct {
	id, tree          oid
	parents           []oid
	author, committer signature
	message           string
}

type signature struct {
	person Person
	when   time.Time
}

// maxParents bounds a merge; Git itself warns above 16.
const maxParents = 256

func readCommit(from objects, id oid) (commitObject, error) {
	o, err := mustGet(from, id, kindCommit)
	if err != nil {
		return commitObject{}, err
	}
	c, err := parseCommit(o.data)
	if err != nil {
		return c, fault.New(fault.TreeInvalid, "commit %s is malformed: %w", id.hash(), err)
	}
	c.id = id
	return c, nil
}

// parseCommit reads a commit: headers, an empty line, the message. Headers that we do not use are skipped.
func parseCommit(data []byte) (c commitObject, err error) {
	head, message, _ := bytes.Cut(data, []byte("\n\n"))
	c.message = string(message)
	seen := false
	for line := range strings.Lines(string(head)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch name {
		case "tree", "parent":
			id, ok := Hash(value).oid()
			if !ok {
				return c, fmt.Errorf("%s %.60q", name, value)
			}
			if name == "tree" {
				c.tree, seen = id, true
			} else if c.parents = append(c.parents, id); len(c.parents) > maxParents {
				return c, fmt.Errorf("more than %d parents", maxParents)
			}
		case "author":
			c.author = parseSignature(value)
		case "committer":
			c.committer = parseSignature(value)
		}
	}
	if !seen {
		return c, fmt.Errorf("no tree")
	}
	return c, nil
}

// parseSignature reads "Name <email> seconds zone"; what is malformed stays empty, as history is full of it.
func parseSignature(s string) (out signature) {
	name, rest, _ := strings.Cut(s, "<")
	email, when, _ := strings.Cut(rest, ">")
	out.person = Person{plain(name), plain(email)}
	seconds, zone, _ := strings.Cut(strings.TrimSpace(when), " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return out
	}
	out.when = time.Unix(n, 0).UTC()
	if z, err := strconv.Atoi(zone); err == nil && z > -2400 && z < 2400 {
		out.when = out.when.In(time.FixedZone("", (z/100*60+z%100)*60))
	}
	return out
}
