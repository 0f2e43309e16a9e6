//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/chaos/check"
)

const (
	// look is how often a state is asked for.
	look = 500 * time.Millisecond
	// settleLimit bounds the time after the last fault until all is quiet. The longest wait that faults of seconds lead to
	// is that between two tries of a run or a look, a minute; the rest is for a machine that others use as well.
	settleLimit = 6 * time.Minute
)

// sqlLeft lists what is not done yet: jobs, but looks at repositories that are not late; reports, plans that wait, and people's
// holds. Looks never end coming, and half a minute is more than one takes. What is held back because it failed stays, and so does what waits for that.
const sqlLeft = `SELECT 'job ' || kind || ' ' || key || ' attempt ' || attempt || ' due in ' || round(extract(epoch FROM run_at - now())) FROM jobs WHERE kind <> 'look' OR run_at < now() - interval '30 seconds'
UNION ALL SELECT 'report ' || kind || ' of ' || repository || ' ' || target FROM reports WHERE sent < version AND NOT dead
UNION ALL SELECT 'plan of ' || name || ' in ' || environment FROM applications WHERE waiting <> '' AND waiting_for->>'code' <> 'ORC-5223' AND removed_at IS NULL
UNION ALL SELECT 'hold of ' || name || ' in ' || environment FROM applications WHERE hold_reason IS NOT NULL AND coalesce(hold_digest, '') = '' AND removed_at IS NULL
UNION ALL SELECT 'look at ' || name || ' fails' FROM repositories WHERE fault IS NOT NULL`

// settle lifts what people have stopped and waits until nothing is left to do.
func (w *world) settle() {
	w.Helper()
	last := ""
	for until, quiet := time.Now().Add(settleLimit), 0; quiet < 3; <-time.After(look) {
		w.release()
		w.unlock()
		left, err := w.left()
		now := fmt.Sprintf("left: %d: %s %v", len(left), strings.Join(left[:min(3, len(left))], ", "), err)
		if now != last {
			w.note("%s", now)
			last = now
		}
		if quiet++; err != nil || len(left) > 0 {
			quiet = 0
		}
		if time.Now().After(until) {
			w.note("left in the end:\n%s", strings.Join(left, "\n"))
			w.Errorf("after %s there is still work: %v: %s", settleLimit, err, strings.Join(left[:min(10, len(left))], ", "))
			return
		}
	}
}

// release confirms every plan that waits and lifts every hold of people's.
func (w *world) release() {
	w.leave()
	if told, done := w.confirm(); done {
		w.note("confirm %s", told)
		w.counts.add("act confirm")
	}
	var list []application
	if _, err := w.api("GET", "/applications", nil, &list); err != nil {
		return // the next turn asks again
	}
	for _, a := range list {
		if a.Hold.byAPerson() {
			w.resumed[a.Name] = true
			w.note("resume %s in %s (%s): %v", a.Name, a.Environment, a.Hold.Reason, w.try("/applications/"+a.Environment+"/"+a.Name+"/resume", nil))
		}
	}
}

// left returns what is not done, asked of the database without the proxies.
func (w *world) left() ([]string, error) {
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, w.database.URL())
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(ctx) }()
	rows, err := c.Query(ctx, sqlLeft)
	if err != nil {
		return nil, err
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, a := range w.authors {
		head := a.git("rev-parse", "main")
		var seen string
		err := c.QueryRow(ctx, "SELECT commit FROM refs WHERE repository = $1 AND name = 'main'", a.repo.FullName()).Scan(&seen)
		if err != nil || seen != head {
			left = append(left, fmt.Sprintf("the commit %.7s of %s (%.7s is known, %v)", head, a.repo.FullName(), seen, err))
		}
		open := []int64{}
		for _, p := range a.pulls {
			open = append(open, p.number)
		}
		var known []int64
		err = c.QueryRow(ctx, "SELECT coalesce(array_agg(number ORDER BY number), '{}') FROM pulls WHERE repository = $1 AND state = 'open'", a.repo.FullName()).Scan(&known)
		if slices.Sort(open); err != nil || !slices.Equal(open, known) {
			left = append(left, fmt.Sprintf("the open pull requests %v of %s (%v are known, %v)", open, a.repo.FullName(), known, err))
		}
	}
	return left, nil
}

// evidence is what the checker may look at.
func (w *world) evidence(folders map[string]check.Folder) check.Evidence {
	e := check.Evidence{
		Gitea: w.gitea.URL, Token: w.gitea.Admin.Token, Bot: w.gitea.Bot.Login, Instance: instance,
		Database: w.database.URL(),
		InGit:    inGit, Folders: folders, Secrets: w.path("secrets"), Clones: map[string]string{}, Environments: map[string][]string{},
		Confirmed: w.confirmed, Resumed: w.resumed,
	}
	w.guide.evidence(&e)
	for _, a := range w.authors {
		e.Clones[a.repo.FullName()] = a.dir
		e.Environments[a.repo.FullName()] = w.environments(a.n)
		a.git("fetch", "--quiet", "origin")
	}
	e.Deployment = w.path("deployment")
	w.git(e.Deployment, "fetch", "--quiet")
	return e
}
