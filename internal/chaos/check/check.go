package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Evidence is where the effects are.
type Evidence struct {
	// Gitea is its address without a slash at the end, Token one that may read everything, Bot the login of the product.
	Gitea, Token, Bot string
	// Instance is the product's name in the contexts of statuses.
	Instance string
	// Database is the URL of the product's database.
	Database string
	// Deployment is a clone of the deployment repository, Clones those of application repositories by OWNER/NAME, with all
	// commits that ever were on a branch.
	Deployment string
	Clones     map[string]string
	// InGit is the environment that delivers into the deployment repository, Folders are the others, by name. Environments
	// are those that a repository is deployed into.
	InGit   string
	Folders map[string]Folder
	// Secrets is the folder of the Secrets of what is delivered into the deployment repository.
	Secrets      string
	Environments map[string][]string
	// Guided is the environment with a golden path, Office the record of the office that it speaks to.
	Guided string
	Office []Request
	// Cancels are the runs that somebody tried to cancel, Confirmed the plans that somebody tried to confirm, and Resumed the names of
	// the applications of which somebody tried to lift the hold.
	Cancels   map[int64]bool
	Confirmed map[string]bool
	Resumed   map[string]bool
	// Disturbed are the times in which the office or the database could not be reached as ever.
	Disturbed []Span
}

// Folder is where an environment delivers to, with what was seen there over time.
type Folder struct {
	Path     string
	Observed Observed
}

// Verdict is what the checker found.
type Verdict struct {
	Violations []string
	// Numbers are how much of each kind of effect was looked at.
	Numbers map[string]int
}

// String tells the numbers.
func (v Verdict) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v.Numbers)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, v.Numbers[name]))
	}
	return strings.Join(append(parts, fmt.Sprintf("violations %d", len(v.Violations))), ", ")
}

// checker is one look at the evidence.
type checker struct {
	Evidence
	Verdict
	history *history
	gitea   *gitea
	// files are Score files that were read, by commit.
	files map[string][]scoreFile
	// deeds are what runs did at the office, by run.
	deeds map[int64]*deeds
}

// Run looks at all evidence. The error says that something could not be read.
func Run(ctx context.Context, e Evidence) (Verdict, error) {
	db, err := pgx.Connect(ctx, e.Database)
	if err != nil {
		return Verdict{}, err
	}
	defer func() { _ = db.Close(ctx) }()
	h, err := readHistory(ctx, db)
	if err != nil {
		return Verdict{}, err
	}
	c := &checker{Evidence: e, Verdict: Verdict{Numbers: map[string]int{}}, history: h, gitea: &gitea{e.Gitea, e.Token}, files: map[string][]scoreFile{}}
	for _, look := range c.looks() {
		if err := look(ctx); err != nil {
			return c.Verdict, err
		}
	}
	return c.Verdict, nil
}

// looks are the parts of a check.
func (c *checker) looks() []func(context.Context) error {
	return []func(context.Context) error{c.checkRuns, c.checkOffice, c.checkGuided, c.checkAgain, c.checkTogether, c.checkDeployment, c.checkFolders, c.checkEnd, c.checkStatuses, c.checkComments}
}

func (c *checker) violated(format string, args ...any) {
	c.Violations = append(c.Violations, fmt.Sprintf(format, args...))
}
