package forge

import (
	"context"
	"errors"
)

// Errors that callers decide by. Everything else is a fault with a class, or a temporary failure.
var (
	// ErrNotFound: the repository, commit, pull request or comment does not exist.
	ErrNotFound = errors.New("not found on the forge")
)

// Forge is what we need of one forge with one account. Repositories are named OWNER/NAME.
//
// Errors are faults: [fault.ForgeRefused] when the credentials do not suffice, [fault.ForgeUnavailable] when it may work
// later (with a wait where the forge gives one), [fault.ForgeRejected] when the same call will never work; or wrap
// [ErrNotFound].
type Forge interface {
	Capabilities() Capabilities
	// Self returns the login of our own account, by which our own comments are known.
	Self(ctx context.Context) (string, error)
	// Pulls returns the open pull requests.
	Pulls(ctx context.Context, repository string) ([]Pull, error)
	// Pull returns one pull request.
	Pull(ctx context.Context, repository string, number int64) (Pull, error)
	// SetStatus sets a commit status; one of the same context is replaced.
	SetStatus(ctx context.Context, repository, commit string, s Status) error
	// Comments returns all comments of a pull request.
	Comments(ctx context.Context, repository string, number int64) ([]Comment, error)
	// CreateComment writes a comment and returns its id.
	CreateComment(ctx context.Context, repository string, number int64, body string) (int64, error)
	// EditComment replaces a comment's text. One that was deleted is [ErrNotFound].
	EditComment(ctx context.Context, repository string, number, id int64, body string) error
	// DeleteComment deletes a comment of ours. One that was deleted is [ErrNotFound].
	DeleteComment(ctx context.Context, repository string, number, id int64) error
}

// Capabilities say what a forge can do beyond the least, and its limits.
type Capabilities struct {
	// DescriptionLimit is the longest description of a status, in characters.
	DescriptionLimit int
	// CommentLimit is the longest comment, in bytes.
	CommentLimit int
}

// PullState is where a pull request stands.
type PullState string

// The states of a pull request.
const (
	Open   PullState = "open"
	Merged PullState = "merged"
	Closed PullState = "closed"
)

// Pull is a pull request.
type Pull struct {
	Number     int64
	State      PullState
	Title      string
	Author     string
	HeadRef    string
	HeadCommit string
	BaseRef    string
	// Fork says that the head is in another repository.
	Fork bool
	// MergeCommit is the commit on the base branch once it is merged.
	MergeCommit string
}

// State is the state of a commit status.
type State string

// The states that all forges know.
const (
	Pending State = "pending"
	Success State = "success"
	Failure State = "failure"
	Error   State = "error"
)

// Status is a commit status.
type Status struct {
	Context     string
	State       State
	Description string
	// URL leads to the whole story.
	URL string
}

// Comment is a comment of a pull request.
type Comment struct {
	ID     int64
	Author string
	Body   string
}
