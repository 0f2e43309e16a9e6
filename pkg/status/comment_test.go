package status_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/secret"
	"github.com/innominatus/reconciler/pkg/status"
)

var update = flag.Bool("update", false, "write the golden files anew")

const budget = 60_000

// comment is a comment of a pull request with some outcomes; merged sets the merge's commit.
func comment(outcomes ...status.Outcome) status.Comment {
	return status.Comment{
		Marker: "<!-- reconciler:v1 eu shop/checkout#128 sig=9b1c -->", Instance: "eu", URL: "https://reconciler.example",
		Base: "4f2c1e9aa0", Head: "a71d03bbb1", Platform: "57c0ffee57", Outcomes: outcomes,
		Time: time.Date(2025, 11, 21, 22, 14, 59, 0, time.UTC),
	}
}

func merged(outcomes ...status.Outcome) status.Comment {
	c := comment(outcomes...)
	c.Merge = "c0ffee1cc2"
	return c
}

func outcome(name string, p *planner.Plan) status.Outcome {
	p.Application, p.Environment, p.ID = name, "production", fmt.Sprintf("%x", sha256.Sum256([]byte(name)))[:12]
	return status.Outcome{Application: name, Environment: "production", Path: "services/" + name + "/score.yaml", Plan: p}
}

func place(line int) fault.Place {
	return fault.Place{File: "services/checkout/score.yaml", Line: line, Column: 5}
}

// created is the plan of an application that is new.
func created() *planner.Plan {
	return &planner.Plan{
		Digest: "new", Summary: planner.Summary{Create: 3},
		Changes: []planner.Change{
			{Action: planner.Create, Part: "containers.main", Detail: "shop/checkout:2.4.0", At: place(8)},
			{Action: planner.Create, Part: "resources.ledger", Detail: "postgres (class default)", At: place(20)},
			{Action: planner.Create, Part: "service", At: place(15)},
		},
		Objects: []planner.ObjectChange{{Action: planner.Create, Kind: "Deployment", Namespace: "shop", Name: "checkout"}},
	}
}

// changed is a plan that updates an image and a variable.
func changed() *planner.Plan {
	return &planner.Plan{
		Base: 31, BaseDigest: "old", Digest: "new", Summary: planner.Summary{Create: 1, Update: 1},
		Changes: []planner.Change{{Action: planner.Update, Part: "containers.main", Detail: "shop/checkout:2.4.0", At: place(8), Fields: []planner.Field{
			{Path: "image", Action: planner.Update, Before: "shop/checkout:2.3.1", After: "shop/checkout:2.4.0", BeforeAt: place(8), AfterAt: place(8)},
			{Path: "variables.LEDGER_URL", Action: planner.Create, After: "${resources.ledger.url}", AfterAt: place(14)},
		}}},
		Objects: []planner.ObjectChange{{Action: planner.Update, Kind: "Deployment", Namespace: "shop", Name: "checkout", Fields: []planner.Field{
			{Path: "spec.template.spec.containers[main].image", Action: planner.Update, Before: "shop/checkout:2.3.1", After: "shop/checkout:2.4.0"},
		}}},
	}
}

// deleting is a plan that deletes a resource that holds data.
func deleting() *planner.Plan {
	return &planner.Plan{
		Base: 31, BaseDigest: "old", Digest: "new", Summary: planner.Summary{Delete: 1, Stateful: 1},
		Changes: []planner.Change{{Action: planner.Delete, Part: "resources.cart-cache", Detail: "redis (class default)", Stateful: true, At: place(31)}},
	}
}

func unchanged(name string) status.Outcome {
	return outcome(name, &planner.Plan{Base: 4, BaseDigest: "same", Digest: "same"})
}

func waiting(o status.Outcome) status.Outcome {
	o.Waiting = fault.New(fault.DeletesStateful, "the plan deletes data of %s", o.Application)
	return o
}

func broken(name string) status.Outcome {
	first := fault.New(fault.ResourceType, "resource type %q is not offered here", "postgrs").At(place(21)).Suggest("postgres")
	first.Excerpt, first.Caret = "    type: postgrs", 11
	second := fault.New(fault.NameTaken, "the name %q belongs to shop/old in environment production", name).At(place(2))
	return status.Outcome{Application: name, Environment: "production", Path: "services/checkout/score.yaml", Faults: fault.List{first, second}}
}

func in(state string, o status.Outcome) status.Outcome {
	o.State, o.Generation, o.Run = state, 32, 981
	return o
}

func done(o status.Outcome) status.Outcome {
	o = in("succeeded", o)
	o.Seconds = 4.2
	return o
}

func behind(o status.Outcome) status.Outcome {
	o = in("queued", o)
	o.Behind = 980
	return o
}

func asking(o status.Outcome) status.Outcome {
	o = in("running", o)
	o.Asks = "ask: 1 of 2 approvals by ann, bob until 2026-11-23 06:00 UTC. Deploy checkout to production?"
	return o
}

func paused(o status.Outcome) status.Outcome {
	o = in("running", o)
	o.Asks, o.Paused = "paused by ann", true
	return o
}

func failed(name string) status.Outcome {
	o := in("failed", outcome(name, changed()))
	o.Seconds = 300.1
	o.Problem = fault.New(fault.JobTimedOut, "the step wait did not end within 5 min: 0 of 3 pods are ready")
	return o
}

func notUndone(o status.Outcome) status.Outcome {
	o.NotUndone = fault.New(fault.NotUndone, "step open of run 981 is not undone: DELETE https://change.example answered 403")
	return o
}

func keptBack(o status.Outcome) status.Outcome {
	o.Waiting = fault.New(fault.Together, "checkout, with which it is deployed, is on hold: stocktaking")
	return o
}

func held(o status.Outcome) status.Outcome {
	o.Held = "rolled back to generation 30"
	return o
}

// hostile is an application whose every text tries to be something else than text.
func hostile() status.Outcome {
	evil := "``` @everyone #1 <img src=x> | [a](http://b) GH-12 !3 \u202egnp.exe \x1b[31mred\x1b[0m $x$"
	p := changed()
	p.Changes[0].Fields[0].After = evil
	p.Changes[0].Fields[1].After = strings.Repeat("long ", 14_000)
	p.Objects[0].Name = evil
	o := waiting(outcome("checkout", p))
	o.Environment = evil
	o.Waiting.Message = evil
	o.Faults = fault.List{fault.New(fault.ResourceType, "%s", evil).At(fault.Place{File: evil, Line: 1, Column: 1}).Warn()}
	return o
}

func many(n int, of func(string) status.Outcome) []status.Outcome {
	var out []status.Outcome
	for i := range n {
		out = append(out, of(fmt.Sprintf("service-%03d", i)))
	}
	return out
}

func situations() map[string]status.Comment {
	withConflict := comment()
	withConflict.Conflicts = []string{"services/checkout/score.yaml", "a `b`/score.yaml"}
	closed := comment()
	closed.Closed = true
	inTheWay := comment(outcome("checkout", changed()), outcome("frontend", changed()))
	inTheWay.Outcomes[0].Behind, inTheWay.Outcomes[1].Behind = 980, 978
	unplanned := comment()
	unplanned.Problem = fault.New(fault.GitUnreachable, "fetch https://git.example/shop/checkout.git: connection refused")
	rolledBack, rollingBack, notRolledBack := held(failed("checkout")), failed("frontend"), failed("billing")
	rolledBack.Undone, rollingBack.Undone, notRolledBack.Undone = 33, 33, 33
	rollingBack.Undoing, notRolledBack.Undoing = "running", "failed"
	takenBack, takenAway := done(outcome("frontend", changed())), in("superseded", outcome("billing", created()))
	takenBack.Undone, takenAway.Undone = 33, 2
	all := append(many(480, func(name string) status.Outcome { return outcome(name, changed()) }), broken("zeta"), waiting(outcome("yota", deleting())))
	removal := outcome("checkout", deleting())
	removal.Plan.Digest = ""
	removed := done(removal)
	return map[string]status.Comment{
		"nothing-affected":   comment(unchanged("checkout"), unchanged("frontend")),
		"no-applications":    comment(),
		"first-deployment":   comment(outcome("checkout", created())),
		"changes":            comment(outcome("checkout", changed()), unchanged("frontend"), outcome("billing", changed())),
		"removal":            comment(waiting(removal)),
		"deletes-data":       comment(outcome("frontend", changed()), waiting(outcome("checkout", deleting())), unchanged("billing")),
		"cannot-be-deployed": comment(outcome("frontend", changed()), broken("checkout")),
		"conflict":           withConflict,
		"closed":             closed,
		"on-hold":            comment(held(outcome("checkout", changed())), outcome("frontend", changed())),
		"kept-back":          comment(held(outcome("checkout", changed())), keptBack(outcome("frontend", changed()))),
		"not-planned":        unplanned,
		"in-the-way":         inTheWay,
		"merged-nothing":     merged(unchanged("checkout")),
		"merged-queued":      merged(behind(outcome("checkout", changed())), in("running", outcome("frontend", changed())), in("queued", outcome("shop", changed())), unchanged("billing")),
		"merged-waiting":     merged(waiting(outcome("checkout", deleting())), done(outcome("frontend", changed()))),
		"merged-asking":      merged(asking(outcome("checkout", changed())), paused(outcome("frontend", changed()))),
		"merged-deployed":    merged(done(outcome("checkout", changed())), unchanged("billing")),
		"merged-removed":     merged(removed),
		"merged-failed":      merged(failed("checkout"), done(outcome("frontend", changed()))),
		"merged-not-undone":  merged(notUndone(failed("checkout")), done(outcome("frontend", changed()))),
		"merged-rolled-back": merged(rolledBack, rollingBack, notRolledBack),
		"merged-stopped":     merged(in("superseded", outcome("checkout", changed())), in("cancelled", outcome("frontend", changed()))),
		"merged-taken-back":  merged(rolledBack, takenBack, takenAway),
		"merged-kept-back":   merged(waiting(outcome("checkout", deleting())), keptBack(outcome("frontend", changed()))),
		"merged-superseded":  merged(in("superseded", outcome("checkout", changed()))),
		"hostile":            comment(hostile()),
		"five-hundred":       comment(all...),
	}
}

func TestCommentReads(t *testing.T) {
	t.Parallel()
	for name, c := range situations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := c.Render()
			check(t, got)
			if again := c.Render(); again != got {
				t.Error("the same comment gives other bytes")
			}
			path := filepath.Join("testdata", "comment", name+".md")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("with -update it becomes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommentGetsOneBannerWhenItIsOutdated(t *testing.T) {
	t.Parallel()
	for name, c := range situations() {
		body := c.Render()
		once := status.Outdated(body, "a new plan is being made of head 1111111.")
		twice := status.Outdated(once, "a new plan is being made of head <2222222>.")
		check(t, twice)
		want := strings.Replace(body, "\n### ", "\n> ⏳ **Out of date**: a new plan is being made of head &lt;2222222&gt;.\n\n### ", 1)
		if diff := cmp.Diff(want, twice); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if !strings.Contains(once, "head 1111111") || strings.Contains(twice, "1111111") {
			t.Errorf("%s: the newer banner did not take the older one's place:\n%s", name, twice)
		}
	}
	// The longest of everything leaves room for a banner.
	long := strings.Repeat("&<", 500)
	c := comment(many(480, func(string) status.Outcome {
		o := outcome(long, changed())
		o.Environment, o.Behind = long, 980
		return o
	})...)
	c.Instance = long
	check(t, status.Outdated(c.Render(), long))
	c.Merge = "c0ffee1cc2"
	check(t, status.Outdated(c.Render(), long))
}

func TestCommentPutsFailuresFirstThenDeletions(t *testing.T) {
	t.Parallel()
	text := comment(outcome("a", changed()), outcome("b", deleting()), broken("d"), waiting(outcome("c", deleting()))).Render()
	at := -1
	for _, name := range []string{"| d |", "| c |", "| b |", "| a |"} {
		next := strings.Index(text, name)
		if next < at {
			t.Errorf("%s is too early", name)
		}
		at = next
	}
}

func TestCommentTellsOfFailuresWhenThereIsNoRoomForAll(t *testing.T) {
	t.Parallel()
	text := situations()["five-hundred"].Render()
	for _, needed := range []string{"482 of 482", "is not offered here", "did you mean postgres", "resources.cart-cache", "more in detail"} {
		if !strings.Contains(text, needed) {
			t.Errorf("%q is missing", needed)
		}
	}
	if len(text) < budget/2 {
		t.Errorf("%d bytes of %d are used", len(text), budget)
	}
}

func TestCommentShortensBlocksAfterWholeLines(t *testing.T) {
	t.Parallel()
	p := changed()
	for i := range 5_000 {
		p.Changes[0].Fields = append(p.Changes[0].Fields, planner.Field{Path: fmt.Sprintf("variables.V%d", i), Action: planner.Create, After: "é"})
	}
	text := comment(outcome("checkout", p)).Render()
	check(t, text)
	if !regexp.MustCompile(`(?m)^… \d+ more lines$`).MatchString(text) {
		t.Error("nothing says that lines are missing")
	}
}

func TestCommentShowsNoSecretHoweverItIsEscapedOrCut(t *testing.T) {
	t.Parallel()
	const secretValue = "p@ss_word!*with|marks<>"
	var known secret.Redactor
	known.Add(secretValue)
	padding := strings.Repeat("x", 190)
	for _, text := range []string{secretValue, padding + secretValue, strings.Repeat(padding, 3)[:490] + secretValue} {
		p := changed()
		p.Changes[0].Fields[0].After, p.Changes[0].Detail, p.Objects[0].Name, p.Objects[0].Fields[0].Before = text, text, text, text
		p.Warnings = fault.List{fault.New(fault.ResourceType, "%s", text)}
		o := failed("checkout")
		o.Plan, o.Environment, o.Problem.Message, o.Faults = p, text, text, broken("x").Faults
		o.Faults[0].Message, o.Faults[0].Excerpt, o.Faults[1].Remedy = text, text, text
		w, h := waiting(outcome("frontend", p)), held(outcome("billing", p))
		w.Waiting.Message, h.Held = text, text
		c := comment(o, w, h)
		c.Redact = known.Redact
		got := c.Render()
		check(t, got)
		if strings.Contains(got, "p@") || strings.Contains(got, "ss_word") || strings.Contains(got, `ss\_word`) {
			t.Errorf("the secret is there:\n%s", got)
		}
		if o.Plan.Changes[0].Detail != text || o.Problem.Message != text {
			t.Error("rendering changes what it is given")
		}
	}
}

// mention is what forges make a notification or a link of.
var mention = regexp.MustCompile(`@[A-Za-z0-9]|#[0-9]|\bGH-[0-9]|![0-9]`)

// tags are the only ones that we write.
var tags = regexp.MustCompile(`<(/?(details|summary|b|sub)( open)?)>|<!-- reconciler:v1 [^<>]*-->`)

// check holds what every comment must hold.
func check(t *testing.T, text string) {
	t.Helper()
	if len(text) > budget {
		t.Errorf("%d bytes", len(text))
	}
	if !utf8.ValidString(text) {
		t.Error("the comment is not UTF-8")
	}
	var outside strings.Builder
	fence := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		for _, r := range line {
			if r != '\t' && r != '\u200d' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
				t.Fatalf("control character %U in %q", r, line)
			}
		}
		run := line[:len(line)-len(strings.TrimLeft(line, "`"))]
		switch {
		case fence == "" && len(run) >= 3 && !strings.Contains(line[len(run):], "`"):
			fence = run
		case fence != "" && len(run) >= len(fence) && strings.TrimSpace(line) == run:
			fence = ""
		case fence == "":
			outside.WriteString(withoutCode(line) + "\n")
		}
	}
	if fence != "" {
		t.Errorf("a fence of %d is left open", len(fence))
	}
	prose := strings.Replace(outside.String(), "\n> ⏳", "\n⏳", 1) // the banner
	if open, closed := strings.Count(prose, "<details"), strings.Count(prose, "</details>"); open != closed {
		t.Errorf("%d sections are opened, %d closed", open, closed)
	}
	prose = tags.ReplaceAllString(prose, "")
	if strings.ContainsAny(prose, "<>") {
		t.Errorf("a tag of somebody else in %q", prose[strings.IndexAny(prose, "<>"):])
	}
	if found := mention.FindString(prose); found != "" {
		t.Errorf("%q is not neutral in\n%s", found, prose)
	}
}

// withoutCode takes spans of code out of a line, as CommonMark finds them: a run of backticks closed by one as long.
func withoutCode(line string) string {
	var b strings.Builder
	for i := 0; i < len(line); {
		if line[i] == '\\' && i+1 < len(line) && line[i+1] == '`' {
			i += 2
			continue
		}
		run := len(line[i:]) - len(strings.TrimLeft(line[i:], "`"))
		if run == 0 {
			b.WriteByte(line[i])
			i++
			continue
		}
		end := closing(line[i+run:], run)
		if end < 0 {
			i += run
			continue
		}
		i += run + end + run
	}
	return b.String()
}

// closing returns where the next run of exactly n backticks begins, or -1.
func closing(s string, n int) int {
	for i := 0; i < len(s); {
		run := len(s[i:]) - len(strings.TrimLeft(s[i:], "`"))
		if run == n {
			return i
		}
		i += max(run, 1)
	}
	return -1
}

func FuzzComment(f *testing.F) {
	f.Add("checkout", "production", "a/score.yaml", "no such type", "value", uint16(3), uint8(0))
	f.Add("``` @a", "<b>", "#1", "\u202e|", "\x00\xff", uint16(129), uint8(255))
	f.Add("-->", "\n```\n", "[x](y)", "@all\r\n# big", strings.Repeat("`", 1000), uint16(1), uint8(77))
	f.Fuzz(func(t *testing.T, name, environment, path, message, value string, n uint16, how uint8) {
		c := comment()
		if how&1 > 0 {
			c.Merge = value
		}
		if how&128 > 0 {
			c.Conflicts = []string{path, value}
		}
		for i := range n % 130 {
			p := changed()
			p.Base, p.ID = int64(how&2), value
			p.Changes[0].Detail, p.Changes[0].Part, p.Changes[0].Stateful = value, name, how&4 > 0
			p.Changes[0].Fields[0].After, p.Changes[0].Fields[1].Path = value, path
			p.Objects[0].Name = name
			o := status.Outcome{Application: fmt.Sprint(name, i), Environment: environment, Path: path, Plan: p, Run: int64(how & 8)}
			why := fault.New(fault.ResourceType, "%s", message).At(fault.Place{File: path, Line: 1, Column: int(how)})
			if how&16 > 0 {
				o.Waiting = why
			}
			if how&32 > 0 {
				o.Faults = fault.List{why, why}
			}
			if how&64 > 0 {
				o.State, o.Problem = "failed", why
			}
			if i%3 == 1 {
				o.Held = message
			}
			c.Outcomes = append(c.Outcomes, o)
		}
		check(t, c.Render())
	})
}
