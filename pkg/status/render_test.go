package status_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/status"
)

// link is where something in HTML leads or loads from.
var link = regexp.MustCompile(`(?:href|src)="([^"]*)"`)

// TestRealGiteaMakesNothingOfForeignText has the forge itself say whether names and values stay what they are: the issue
// and the account that the text names exist, so that they would become links.
func TestRealGiteaMakesNothingOfForeignText(t *testing.T) {
	t.Parallel()
	g := testenv.Gitea(t)
	repo := g.NewRepo(t, g.NewOrg(t), false)
	g.Commit(t, repo, testenv.Change{Branch: "topic", From: "main", Files: map[string]string{"f": "1"}})
	number := g.OpenPull(t, repo, "topic", "main", "One").Number

	plain := g.RenderComment(t, repo, "@"+g.Admin.Login+" closes #1 see http://evil.example")
	if number != 1 || len(link.FindAllString(plain, -1)) < 3 {
		t.Fatalf("the test's own text makes no links: %s", plain)
	}
	o := hostile()
	o.Application = "@" + g.Admin.Login
	o.Environment += " closes #1 see http://evil.example www.evil.example mail@evil.example @" + g.Admin.Login
	o.Waiting.Message, o.Faults[0].Message = o.Environment, o.Environment
	p := changed()
	p.Objects[0].Name = o.Environment
	held := held(outcome(o.Environment, p))
	held.Held = o.Environment
	for _, c := range []status.Comment{comment(o, held), merged(failed(o.Environment), broken(o.Application))} {
		html := g.RenderComment(t, repo, c.Render())
		for _, found := range link.FindAllStringSubmatch(html, -1) {
			if !strings.HasPrefix(found[1], c.URL) && !strings.HasPrefix(found[1], "https://github.com/innominatus/reconciler/") &&
				!strings.Contains(found[1], "/assets/img/emoji") {
				t.Errorf("foreign text leads to %q", found[1])
			}
		}
		if strings.Contains(html, "mention") || strings.Contains(html, "ref-issue") || strings.Contains(html, "<img src=\"x\"") {
			t.Errorf("foreign text does something:\n%s", html)
		}
		if open, closed := strings.Count(html, "<details"), strings.Count(html, "</details>"); open != closed || open < 3 {
			t.Errorf("%d sections are opened, %d closed", open, closed)
		}
	}
}
