package forgetest

import (
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/forge"
)

// World is the other side of a forge: what people and servers do while we look on. Each method fails the test when it
// cannot do what it says.
type World interface {
	// NewRepository makes a repository with one commit on main, on which the forge's account may write, and returns
	// OWNER/NAME.
	NewRepository(t *testing.T) string
	// NewCommit adds a commit to main and returns its id.
	NewCommit(t *testing.T, repository string) string
	// OpenPull opens a pull request into main, from a branch or from a fork.
	OpenPull(t *testing.T, repository, title string, fork bool) Opened
	// MergePull merges a pull request and returns the commit on main.
	MergePull(t *testing.T, repository string, number int64) string
	ClosePull(t *testing.T, repository string, number int64)
	// Statuses returns the newest status of each context.
	Statuses(t *testing.T, repository, commit string) map[string]forge.Status
	// WriteComment writes a comment as another person, and returns the author and the id.
	WriteComment(t *testing.T, repository string, number int64, body string) (author string, id int64)
	DeleteComment(t *testing.T, repository string, id int64)
	// WrongToken returns the same forge with credentials that it does not accept.
	WrongToken(t *testing.T) forge.Forge
	// Down returns the forge while its server cannot be reached.
	Down(t *testing.T) forge.Forge
	// Limited returns the forge while it answers that we ask too often and should wait.
	Limited(t *testing.T, wait time.Duration) forge.Forge
	// Garbled returns the forge while a proxy answers every call with a page of its own, as if all were well.
	Garbled(t *testing.T) forge.Forge
	// SmallPages returns the forge while its lists have pages of [SmallPage].
	SmallPages(t *testing.T) forge.Forge
	// Hanging returns the forge while it takes calls and never answers.
	Hanging(t *testing.T) forge.Forge
}

// SmallPage is how many items a page has that an administrator has made small.
const SmallPage = 3

// Opened is what the World knows of a pull request that it has opened.
type Opened struct {
	Number                      int64
	Author, HeadRef, HeadCommit string
}
