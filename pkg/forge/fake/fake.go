package fake

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
)

const (
	// Login is the account that the forge takes us for.
	Login = "reconciler-bot"
	// descriptionLimit and commentLimit are GitHub's, the strictest; more is refused, as GitHub does.
	descriptionLimit = 140
	commentLimit     = 60_000
	// longestWait is how long a forge may ask to wait at most, as in the real ones.
	longestWait = 10 * time.Minute
)

// Call is a call of one of the forge's methods.
type Call struct {
	// Method is the name of the method of [forge.Forge].
	Method string
	// Repository is OWNER/NAME, "" for Self.
	Repository string
	// Target is the commit of a status, else the number of the pull request, "" for Pulls.
	Target string
	// Context and State are those of a status; Body is that of a comment.
	Context string
	State   forge.State
	Body    string
}

// Forge is a forge in memory. It is safe for concurrent use.
type Forge struct {
	mu           sync.Mutex
	repositories map[string]*repository
	last         int64 // the newest id of a comment or commit
	calls        []Call
	before       func(context.Context, Call) error
	after        func(Call) error
}

type repository struct {
	commits  map[string]bool
	statuses map[string]map[string]forge.Status
	pulls    []forge.Pull
	comments map[int64][]forge.Comment
}

var _ forge.Forge = (*Forge)(nil)

// New returns a forge without repositories.
func New() *Forge { return &Forge{repositories: map[string]*repository{}} }

// Before sets what is asked before each call: an error is the call's answer, and nothing happens. It may wait, and is
// given the call's context. nil takes it away.
func (f *Forge) Before(ask func(context.Context, Call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = ask
}

// After sets what is asked after each call that has happened: an error is the answer, as if the real one was lost on its
// way. nil takes it away.
func (f *Forge) After(ask func(Call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = ask
}

// Calls returns the calls of the methods that happened, in order; no names means those that write.
func (f *Forge) Calls(methods ...string) []Call {
	if len(methods) == 0 {
		methods = []string{"SetStatus", "CreateComment", "EditComment", "DeleteComment"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.calls), func(c Call) bool { return !slices.Contains(methods, c.Method) })
}

// do runs a call: what [Forge.Before] says, then act under the lock, then what [Forge.After] says.
func (f *Forge) do(ctx context.Context, c Call, act func() error) error {
	f.mu.Lock()
	before := f.before
	f.mu.Unlock()
	if before != nil {
		if err := before(ctx, c); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fault.New(fault.ForgeUnavailable, "%s: %w", c.Method, err)
	}
	f.mu.Lock()
	err := act()
	if err == nil {
		f.calls = append(f.calls, c)
	}
	after := f.after
	f.mu.Unlock()
	if err == nil && after != nil {
		err = after(c)
	}
	return err
}

// in runs act with a repository.
func (f *Forge) in(ctx context.Context, c Call, act func(*repository) error) error {
	return f.do(ctx, c, func() error {
		owner, name, ok := strings.Cut(c.Repository, "/")
		if !ok || owner == "" || name == "" {
			return fault.New(fault.ForgeRejected, "%q is not OWNER/NAME", c.Repository)
		}
		r, ok := f.repositories[c.Repository]
		if !ok {
			return missing("repository %s", c.Repository)
		}
		return act(r)
	})
}

func missing(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), forge.ErrNotFound)
}

// Capabilities implements [forge.Forge].
func (f *Forge) Capabilities() forge.Capabilities {
	return forge.Capabilities{DescriptionLimit: descriptionLimit, CommentLimit: commentLimit}
}

// Self implements [forge.Forge].
func (f *Forge) Self(ctx context.Context) (string, error) {
	return Login, f.do(ctx, Call{Method: "Self"}, func() error { return nil })
}

// Pulls implements [forge.Forge].
func (f *Forge) Pulls(ctx context.Context, name string) (out []forge.Pull, err error) {
	err = f.in(ctx, Call{Method: "Pulls", Repository: name}, func(r *repository) error {
		out = slices.DeleteFunc(slices.Clone(r.pulls), func(p forge.Pull) bool { return p.State != forge.Open })
		return nil
	})
	return out, err
}

// Pull implements [forge.Forge].
func (f *Forge) Pull(ctx context.Context, name string, number int64) (out forge.Pull, err error) {
	err = f.in(ctx, Call{Method: "Pull", Repository: name, Target: fmt.Sprint(number)}, func(r *repository) error {
		p, err := r.pull(number)
		if err == nil {
			out = *p
		}
		return err
	})
	return out, err
}

func (r *repository) pull(number int64) (*forge.Pull, error) {
	if number < 1 || number > int64(len(r.pulls)) {
		return nil, missing("pull request %d", number)
	}
	return &r.pulls[number-1], nil
}

// SetStatus implements [forge.Forge].
func (f *Forge) SetStatus(ctx context.Context, name, commit string, s forge.Status) error {
	c := Call{Method: "SetStatus", Repository: name, Target: commit, Context: s.Context, State: s.State, Body: s.Description}
	return f.in(ctx, c, func(r *repository) error {
		if !r.commits[commit] {
			return missing("commit %s", commit)
		}
		if len([]rune(s.Description)) > descriptionLimit {
			return fault.New(fault.ForgeRejected, "description is too long (maximum is %d characters)", descriptionLimit)
		}
		if r.statuses[commit] == nil {
			r.statuses[commit] = map[string]forge.Status{}
		}
		r.statuses[commit][s.Context] = s
		return nil
	})
}

// Comments implements [forge.Forge].
func (f *Forge) Comments(ctx context.Context, name string, number int64) (out []forge.Comment, err error) {
	err = f.in(ctx, Call{Method: "Comments", Repository: name, Target: fmt.Sprint(number)}, func(r *repository) error {
		_, err := r.pull(number)
		out = slices.Clone(r.comments[number])
		return err
	})
	return out, err
}

// CreateComment implements [forge.Forge].
func (f *Forge) CreateComment(ctx context.Context, name string, number int64, body string) (id int64, err error) {
	c := Call{Method: "CreateComment", Repository: name, Target: fmt.Sprint(number), Body: body}
	err = f.in(ctx, c, func(r *repository) error {
		id, err = f.write(r, number, Login, body)
		return err
	})
	return id, err
}

func (f *Forge) write(r *repository, number int64, author, body string) (int64, error) {
	if _, err := r.pull(number); err != nil {
		return 0, err
	}
	if len(body) > commentLimit {
		return 0, fault.New(fault.ForgeRejected, "body is too long (maximum is %d bytes)", commentLimit)
	}
	f.last++
	r.comments[number] = append(r.comments[number], forge.Comment{ID: f.last, Author: author, Body: body})
	return f.last, nil
}

// EditComment implements [forge.Forge].
func (f *Forge) EditComment(ctx context.Context, name string, number, id int64, body string) error {
	c := Call{Method: "EditComment", Repository: name, Target: fmt.Sprint(number), Body: body}
	return f.in(ctx, c, func(r *repository) error {
		at := slices.IndexFunc(r.comments[number], func(c forge.Comment) bool { return c.ID == id })
		if at < 0 {
			return missing("comment %d", id)
		}
		if len(body) > commentLimit {
			return fault.New(fault.ForgeRejected, "body is too long (maximum is %d bytes)", commentLimit)
		}
		r.comments[number][at].Body = body
		return nil
	})
}

// DeleteComment implements [forge.Forge].
func (f *Forge) DeleteComment(ctx context.Context, name string, number, id int64) error {
	c := Call{Method: "DeleteComment", Repository: name, Target: fmt.Sprint(number)}
	return f.in(ctx, c, func(r *repository) error {
		before := len(r.comments[number])
		r.comments[number] = slices.DeleteFunc(r.comments[number], func(c forge.Comment) bool { return c.ID == id })
		if len(r.comments[number]) == before {
			return missing("comment %d", id)
		}
		return nil
	})
}

// Statuses returns the newest status of each context of a commit.
func (f *Forge) Statuses(name, commit string) map[string]forge.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, ok := f.repositories[name]; ok {
		return maps.Clone(r.statuses[commit])
	}
	return nil
}

// id returns something that looks like a commit's id; the lock must be held.
func (f *Forge) id() string {
	f.last++
	sum := sha1.Sum(fmt.Append(nil, f.last))
	return hex.EncodeToString(sum[:])
}
