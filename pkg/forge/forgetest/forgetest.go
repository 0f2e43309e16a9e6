package forgetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
)

const (
	// manyPulls is more than two pages of [World.SmallPages].
	manyPulls = 2*SmallPage + 1
	// noCommit is a well-formed id that no repository has.
	noCommit = "0123456789abcdef0123456789abcdef01234567"
	// noNumber is a pull request and a comment that are not there.
	noNumber = 1 << 30
	// patience is how long a call may take to notice that its context has ended.
	patience = 5 * time.Second
)

// Run holds the promises of [forge.Forge]. newForge is called once for each promise; what it makes may be shared as long
// as repositories are not.
func Run(t *testing.T, newForge func(t *testing.T) (forge.Forge, World)) {
	t.Helper()
	promises := []struct {
		fact string
		hold func(t *testing.T, f forge.Forge, w World)
	}{
		{"KnowsItsOwnAccount", knowsItsOwnAccount},
		{"ReplacesStatusesOfTheSameContext", replacesStatuses},
		{"TakesDescriptionsUpToItsLimit", takesLongDescriptions},
		{"HasNoStatusOnWhatIsNotThere", refusesStatusOnUnknown},
		{"CreatesEditsListsAndDeletesComments", writesComments},
		{"TakesCommentsUpToItsLimit", takesLongComments},
		{"NamesTheAuthorsOfComments", namesAuthors},
		{"CannotEditOrDeleteADeletedComment", missesDeletedComment},
		{"HasNoCommentOnWhatIsNotThere", refusesCommentOnUnknown},
		{"ListsOpenPullRequestsOnly", listsOpenPulls},
		{"TellsMergedFromClosed", tellsMergedFromClosed},
		{"KnowsForks", knowsForks},
		{"HasNoPullRequestThatIsNotThere", missesUnknownPull},
		{"ListsMoreThanAPageOfPullRequests", listsManyPulls},
		{"RejectsNamesThatAreNone", rejectsNames},
		{"IsRefusedWithAWrongToken", isRefused},
		{"MayBeTriedAgainWhenDown", isUnavailable},
		{"MayBeTriedAgainWhenTheAnswerIsGarbled", staysWithoutAnswer},
		{"KeepsHowLongToWait", keepsWait},
		{"EndsWithItsContext", endsWithContext},
	}
	for _, p := range promises {
		t.Run(p.fact, func(t *testing.T) {
			t.Parallel()
			f, w := newForge(t)
			p.hold(t, f, w)
		})
	}
}

func knowsItsOwnAccount(t *testing.T, f forge.Forge, w World) {
	self, err := f.Self(t.Context())
	if err != nil || self == "" {
		t.Fatalf("self: %q, %v", self, err)
	}
	r := w.NewRepository(t)
	p := w.OpenPull(t, r, "One", false)
	if _, err := f.CreateComment(t.Context(), r, p.Number, "by us"); err != nil {
		t.Fatal(err)
	}
	if got := comments(t, f, r, p.Number); len(got) != 1 || got[0].Author != self {
		t.Errorf("our comment is not by %s: %+v", self, got)
	}
}

func replacesStatuses(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	commit := w.NewCommit(t, r)
	want := map[string]forge.Status{}
	for _, state := range []forge.State{forge.Pending, forge.Error, forge.Failure, forge.Success} {
		for _, name := range []string{"reconciler/eu/prod", "reconciler/eu/staging"} {
			s := forge.Status{Context: name, State: state, Description: "now " + string(state), URL: "https://example.com/" + string(state)}
			want[name] = s
			if err := f.SetStatus(t.Context(), r, commit, s); err != nil {
				t.Fatal(err)
			}
		}
		if diff := gocmp.Diff(want, w.Statuses(t, r, commit)); diff != "" {
			t.Fatalf("statuses after %s (-want +got):\n%s", state, diff)
		}
	}
}

func takesLongDescriptions(t *testing.T, f forge.Forge, w World) {
	limit := f.Capabilities().DescriptionLimit
	if limit < 100 {
		t.Fatalf("a description of %d characters says nothing", limit)
	}
	r := w.NewRepository(t)
	commit := w.NewCommit(t, r)
	s := forge.Status{Context: "c", State: forge.Success, Description: strings.Repeat("é", limit)}
	if err := f.SetStatus(t.Context(), r, commit, s); err != nil {
		t.Fatal(err)
	}
	if got := w.Statuses(t, r, commit)["c"].Description; got != s.Description {
		t.Errorf("the description has %d characters, not %d", len([]rune(got)), limit)
	}
}

func refusesStatusOnUnknown(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	s := forge.Status{Context: "c", State: forge.Success}
	wantNotFound(t, "unknown commit", f.SetStatus(t.Context(), r, noCommit, s))
	wantNotFound(t, "unknown repository", f.SetStatus(t.Context(), "nobody/nothing", noCommit, s))
}

func writesComments(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	p := w.OpenPull(t, r, "One", false)
	if got := comments(t, f, r, p.Number); len(got) != 0 {
		t.Fatalf("a new pull request has comments %+v", got)
	}
	self, err := f.Self(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want []forge.Comment
	for _, body := range []string{"<!-- marker -->\n### one\n\n```diff\n+ ü 🟢\n```\n", "two"} {
		id, err := f.CreateComment(t.Context(), r, p.Number, body)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, forge.Comment{ID: id, Author: self, Body: body})
	}
	if diff := gocmp.Diff(want, comments(t, f, r, p.Number)); diff != "" {
		t.Fatalf("comments (-want +got):\n%s", diff)
	}
	want[0].Body = "### one, edited"
	if err := f.EditComment(t.Context(), r, p.Number, want[0].ID, want[0].Body); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, comments(t, f, r, p.Number)); diff != "" {
		t.Fatalf("comments after the edit (-want +got):\n%s", diff)
	}
	if err := f.DeleteComment(t.Context(), r, p.Number, want[1].ID); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want[:1], comments(t, f, r, p.Number)); diff != "" {
		t.Fatalf("comments after the deletion (-want +got):\n%s", diff)
	}
}

func takesLongComments(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	p := w.OpenPull(t, r, "One", false)
	limit := f.Capabilities().CommentLimit
	body := strings.Repeat("a line of text\n", limit/15+1)[:limit-1] + "."
	id, err := f.CreateComment(t.Context(), r, p.Number, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.EditComment(t.Context(), r, p.Number, id, body[1:]+"!"); err != nil {
		t.Fatal(err)
	}
	if got := comments(t, f, r, p.Number); len(got) != 1 || got[0].Body != body[1:]+"!" {
		t.Errorf("a comment of %d bytes came back otherwise", limit)
	}
}

func namesAuthors(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	p := w.OpenPull(t, r, "One", false)
	author, id := w.WriteComment(t, r, p.Number, "by a person")
	if self, err := f.Self(t.Context()); err != nil || self == author {
		t.Fatalf("the person is us: %s, %v", self, err)
	}
	want := []forge.Comment{{ID: id, Author: author, Body: "by a person"}}
	if diff := gocmp.Diff(want, comments(t, f, r, p.Number)); diff != "" {
		t.Errorf("comments (-want +got):\n%s", diff)
	}
}

func missesDeletedComment(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	p := w.OpenPull(t, r, "One", false)
	id, err := f.CreateComment(t.Context(), r, p.Number, "one")
	if err != nil {
		t.Fatal(err)
	}
	w.DeleteComment(t, r, id)
	wantNotFound(t, "edit", f.EditComment(t.Context(), r, p.Number, id, "two"))
	wantNotFound(t, "delete", f.DeleteComment(t.Context(), r, p.Number, id))
	if got := comments(t, f, r, p.Number); len(got) != 0 {
		t.Errorf("comments: %+v", got)
	}
}

func refusesCommentOnUnknown(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	_, err := f.CreateComment(t.Context(), r, noNumber, "x")
	wantNotFound(t, "create", err)
	_, err = f.Comments(t.Context(), r, noNumber)
	wantNotFound(t, "list", err)
	p := w.OpenPull(t, r, "One", false)
	wantNotFound(t, "edit", f.EditComment(t.Context(), r, p.Number, noNumber, "x"))
	wantNotFound(t, "delete", f.DeleteComment(t.Context(), r, p.Number, noNumber))
}

func listsOpenPulls(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	if got, err := f.Pulls(t.Context(), r); err != nil || len(got) != 0 {
		t.Fatalf("a new repository has pull requests %+v, %v", got, err)
	}
	open, merged, closed := w.OpenPull(t, r, "Stays open", false), w.OpenPull(t, r, "Is merged", false), w.OpenPull(t, r, "Is closed", false)
	w.MergePull(t, r, merged.Number)
	w.ClosePull(t, r, closed.Number)
	want := forge.Pull{
		Number: open.Number, State: forge.Open, Title: "Stays open", Author: open.Author,
		HeadRef: open.HeadRef, HeadCommit: open.HeadCommit, BaseRef: "main",
	}
	got, err := f.Pulls(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]forge.Pull{want}, got); diff != "" {
		t.Errorf("open pull requests (-want +got):\n%s", diff)
	}
	one, err := f.Pull(t.Context(), r, open.Number)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, one); diff != "" {
		t.Errorf("the pull request alone (-want +got):\n%s", diff)
	}
}

func tellsMergedFromClosed(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	merged, closed := w.OpenPull(t, r, "Is merged", false), w.OpenPull(t, r, "Is closed", false)
	commit := w.MergePull(t, r, merged.Number)
	w.ClosePull(t, r, closed.Number)
	got, err := f.Pull(t.Context(), r, merged.Number)
	if err != nil || got.State != forge.Merged || got.MergeCommit != commit || got.HeadCommit != merged.HeadCommit {
		t.Errorf("merged as %s: got %+v, %v", commit, got, err)
	}
	got, err = f.Pull(t.Context(), r, closed.Number)
	if err != nil || got.State != forge.Closed || got.MergeCommit != "" {
		t.Errorf("closed: got %+v, %v", got, err)
	}
}

func knowsForks(t *testing.T, f forge.Forge, w World) {
	r := w.NewRepository(t)
	p := w.OpenPull(t, r, "From outside", true)
	got, err := f.Pull(t.Context(), r, p.Number)
	if err != nil || !got.Fork || got.HeadCommit != p.HeadCommit || got.Author != p.Author {
		t.Errorf("a fork by %s at %s: got %+v, %v", p.Author, p.HeadCommit, got, err)
	}
}

func missesUnknownPull(t *testing.T, f forge.Forge, w World) {
	_, err := f.Pull(t.Context(), w.NewRepository(t), noNumber)
	wantNotFound(t, "pull request", err)
	_, err = f.Pulls(t.Context(), "nobody/nothing")
	wantNotFound(t, "repository", err)
}

func listsManyPulls(t *testing.T, _ forge.Forge, w World) {
	f, r := w.SmallPages(t), w.NewRepository(t)
	want := map[int64]string{}
	for i := range manyPulls {
		p := w.OpenPull(t, r, fmt.Sprintf("Number %d", i), false)
		want[p.Number] = p.HeadCommit
	}
	list, err := f.Pulls(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	got := map[int64]string{}
	for _, p := range list {
		if _, twice := got[p.Number]; twice {
			t.Errorf("pull request %d is there twice", p.Number)
		}
		got[p.Number] = p.HeadCommit
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("pull requests (-want +got):\n%s", diff)
	}
}

func rejectsNames(t *testing.T, f forge.Forge, _ World) {
	for _, name := range []string{"", "name", "/name", "owner/"} {
		_, err := f.Pulls(t.Context(), name)
		if got, ok := fault.As(err); !ok || got.Code != fault.ForgeRejected {
			t.Errorf("%q: got %v, want %s", name, err, fault.ForgeRejected)
		}
	}
}

func staysWithoutAnswer(t *testing.T, _ forge.Forge, w World) {
	f := w.Garbled(t)
	for act, err := range calls(t.Context(), f, "owner/name", noCommit) {
		if fault.ClassOf(err) != fault.Retryable || err == nil {
			t.Errorf("%s: got %v, want something that may be tried again", act, err)
		}
	}
}

func isRefused(t *testing.T, _ forge.Forge, w World) {
	r := w.NewRepository(t)
	wantFault(t, w.WrongToken(t), r, w.NewCommit(t, r), fault.ForgeRefused, fault.Refused)
}

func isUnavailable(t *testing.T, _ forge.Forge, w World) {
	wantFault(t, w.Down(t), "owner/name", noCommit, fault.ForgeUnavailable, fault.Retryable)
}

func keepsWait(t *testing.T, _ forge.Forge, w World) {
	const wait = 90 * time.Second
	for act, err := range calls(t.Context(), w.Limited(t, wait), "owner/name", noCommit) {
		got, ok := fault.As(err)
		if !ok || got.Code != fault.ForgeUnavailable || got.After > wait || got.After < wait-patience {
			t.Errorf("%s: got %v, want %s with a wait of %s", act, err, fault.ForgeUnavailable, wait)
		}
	}
	_, err := w.Limited(t, 100*time.Hour).Pulls(t.Context(), "owner/name")
	if got, ok := fault.As(err); !ok || got.After > time.Hour {
		t.Errorf("a forge that asks for days: got %v", err)
	}
}

func endsWithContext(t *testing.T, _ forge.Forge, w World) {
	f := w.Hanging(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	started := time.Now()
	for act, err := range calls(ctx, f, "owner/name", noCommit) {
		if !errors.Is(err, context.DeadlineExceeded) || fault.ClassOf(err) != fault.Retryable {
			t.Errorf("%s: got %v, want a retryable %v", act, err, context.DeadlineExceeded)
		}
	}
	if took := time.Since(started); took > patience {
		t.Errorf("took %s", took)
	}
}

// calls calls every method that asks the forge, and returns the errors by name.
func calls(ctx context.Context, f forge.Forge, repository, commit string) map[string]error {
	errs := map[string]error{}
	_, errs["Self"] = f.Self(ctx)
	_, errs["Pulls"] = f.Pulls(ctx, repository)
	_, errs["Pull"] = f.Pull(ctx, repository, 1)
	errs["SetStatus"] = f.SetStatus(ctx, repository, commit, forge.Status{Context: "c", State: forge.Success})
	_, errs["Comments"] = f.Comments(ctx, repository, 1)
	_, errs["CreateComment"] = f.CreateComment(ctx, repository, 1, "x")
	errs["EditComment"] = f.EditComment(ctx, repository, 1, 1, "x")
	errs["DeleteComment"] = f.DeleteComment(ctx, repository, 1, 1)
	return errs
}

func wantFault(t *testing.T, f forge.Forge, repository, commit string, code fault.Code, class fault.Class) {
	t.Helper()
	for act, err := range calls(t.Context(), f, repository, commit) {
		if got, ok := fault.As(err); !ok || got.Code != code || fault.ClassOf(err) != class {
			t.Errorf("%s: got %v, want %s", act, err, code)
		}
	}
}

func wantNotFound(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, forge.ErrNotFound) {
		t.Errorf("%s: got %v, want %v", what, err, forge.ErrNotFound)
	}
}

// comments returns the comments in the order of their ids.
func comments(t *testing.T, f forge.Forge, repository string, number int64) []forge.Comment {
	t.Helper()
	list, err := f.Comments(t.Context(), repository, number)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b forge.Comment) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
