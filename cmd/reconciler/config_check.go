package main

import (
	"cmp"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/secret"
)

var (
	// repositoryName is the form that the API asks for, too.
	repositoryName = regexp.MustCompile(`^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$`)
	// forgeName stands in addresses (/webhooks/NAME) and in labels of metrics.
	forgeName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,60}$`)
)

// configCheck looks at the values of a configuration and notes what is not possible, at its place.
type configCheck struct {
	text document.Text
	// base is the folder that relative paths start from.
	base string
	// told are the faults that were found before, while the file was read.
	told   fault.List
	faults fault.List
}

// bad notes what is wrong with the value at a path.
func (k *configCheck) bad(path keys, format string, args ...any) *fault.Fault {
	f := fault.New(fault.ConfigValue, "%s "+format, append([]any{path}, args...)...)
	k.note(path, f)
	return f
}

// note keeps a fault of the value at a path. What was told of the same place already is enough.
func (k *configCheck) note(path keys, f *fault.Fault) {
	at, found := k.text.Find(path...)
	if found && slices.ContainsFunc(k.told, func(t *fault.Fault) bool { return t.Place == at }) {
		return
	}
	k.faults = append(k.faults, k.text.Tell(f, path...))
}

// keys lead from the top of the configuration to a value: names of keys, and indices of lists.
type keys []string

// below returns the way further down.
func (p keys) below(steps ...string) keys { return append(slices.Clone(p), steps...) }

// String writes it as people do: repositories[0].poll.
func (p keys) String() string {
	var b strings.Builder
	for i, step := range p {
		if _, err := strconv.Atoi(step); err == nil {
			b.WriteString("[" + step + "]")
			continue
		}
		if i > 0 {
			b.WriteString(".")
		}
		b.WriteString(step)
	}
	return b.String()
}

func (k *configCheck) given(path ...string) bool {
	_, found := k.text.Find(path...)
	return found
}

// between refuses a value that was given and is out of its bounds. want tells the bounds as people write them, why what is
// wrong beyond them.
func between[T cmp.Ordered](k *configCheck, path keys, value, least, most T, want, why string) {
	if k.given(path...) && (value < least || value > most) {
		k.bad(path, "is %v, want %s: %s", value, want, why)
	}
}

const (
	whyPoll  = "a shorter one is a load on the remote, and a longer one leaves what a webhook did not tell unseen for days"
	wantPoll = "1s to 24h"
)

// check returns everything that is wrong with the values.
func (c *config) check(k *configCheck) fault.List {
	if strings.ContainsAny(c.Instance, "/ \t\n") || len(c.Instance) > 60 {
		k.bad(keys{"instance"}, "is %q, want a word of at most 60 bytes without a slash", c.Instance)
	}
	c.checkDatabase(k)
	c.checkServer(k)
	between(k, keys{"queue", "workers"}, c.Queue.Workers, 1, 256, "1 to 256",
		"without a worker nothing is done, and each of them takes memory and now and then a connection of the database")
	for name, limit := range map[string]int{"perRepository": c.Queue.PerRepository, "perOwner": c.Queue.PerOwner} {
		between(k, keys{"queue", name}, limit, 0, 1000, "0 to 1000", "0 means no limit, and no installation has more workers")
	}
	between(k, keys{"queue", "lease"}, c.Queue.Lease, 3*time.Second, 10*time.Minute, "3s to 10m",
		"a shorter one is lost whenever the database is slow for a moment, and a longer one delays what a dead process leaves behind")
	between(k, keys{"history"}, c.History, 24*time.Hour, 87600*time.Hour, "24h to 87600h", "people look for what happened yesterday, and nobody for more than ten years")
	c.checkForges(k)
	c.checkSecrets(k)
	c.checkPlatform(k)
	environments := c.environments()
	first := map[string]fault.Place{}
	for i, r := range c.Repositories {
		path := keys{"repositories", strconv.Itoa(i)}
		if at, twice := first[r.Name]; twice {
			k.bad(path.below("name"), "is %q, which stands at %s already", r.Name, at)
		} else if r.Name != "" {
			first[r.Name], _ = k.text.Find(path.below("name")...)
		}
		c.checkRepository(k, path, r, environments)
	}
	return k.faults
}

func (c *config) checkDatabase(k *configCheck) {
	between(k, keys{"database", "maxConnections"}, c.Database.MaxConnections, 4, 1000, "4 to 1000",
		"with fewer, jobs and requests wait for each other, and more of them a database server refuses")
	for key, s := range map[string]*secretConfig{"url": &c.Database.URL, "direct": &c.Database.Direct} {
		path := keys{"database", key}
		if !k.given(path...) {
			continue
		}
		if err := s.resolve(k.base); err != nil {
			k.bad(path, "has no value: %w", err)
		} else if _, err := pgx.ParseConfig(s.value); err != nil {
			k.note(path, fault.New(fault.DatabaseURL, "%s: %w", path, err))
		}
	}
	direct := keys{"database", "direct"}
	switch pooled, given := c.Database.PgBouncer, k.given(direct...); {
	case pooled && !k.given("database", "url"):
		k.bad(keys{"database", "pgbouncer"}, "means nothing without database.url")
	case pooled && !given:
		k.note(direct, fault.New(fault.ConfigMissing, "%s is missing: PgBouncer keeps no session for migrations and LISTEN", direct).
			Do("Give the URL of the same database that leads to PostgreSQL itself."))
	case given && !pooled:
		k.bad(direct, "means nothing without database.pgbouncer")
	}
}

func (c *config) checkServer(k *configCheck) {
	for _, a := range []struct{ path, value string }{{"server.listen", c.Server.Listen}, {"telemetry.debug", c.Telemetry.Debug}} {
		if path := keys(strings.Split(a.path, ".")); a.value != "" && !isAddress(a.value) {
			k.bad(path, "is %q, want HOST:PORT, for example 127.0.0.1:8080", a.value)
		}
	}
	if path := (keys{"server", "url"}); k.given(path...) {
		k.address(path, c.Server.URL)
	}
	if c.Telemetry.Traces != "" {
		k.address(keys{"telemetry", "traces"}, c.Telemetry.Traces)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		k.bad(keys{"log", "level"}, "is %q, want debug, info, warn or error", c.Log.Level)
	}
	if !slices.Contains([]string{"", "json", "console"}, c.Log.Format) {
		k.bad(keys{"log", "format"}, "is %q, want json or console", c.Log.Format)
	}
}

// isAddress says whether something can be listened on; port 0 takes any that is free.
func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	_, number := strconv.ParseUint(port, 10, 16)
	return err == nil && number == nil && !strings.ContainsAny(host, "/ \t")
}

// address refuses what is no http or https URL, and says whether it is one. What holds credentials is never shown.
func (k *configCheck) address(path keys, value string) bool {
	u, err := url.Parse(value)
	var f *fault.Fault
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		f = k.bad(path, "must begin with https:// or http:// and name a host")
	case u.User != nil:
		f = k.bad(path, "must not hold credentials: they would be stored and shown with it").
			Do("Take them out, and name a forge with a token.")
	default:
		return true
	}
	if strings.Contains(value, "@") {
		f.Excerpt, f.Caret = "", 0
	}
	return false
}

func (c *config) checkForges(k *configCheck) {
	for _, name := range slices.Sorted(maps.Keys(c.Forges)) {
		f, path := c.Forges[name], keys{"forges", name}
		if !forgeName.MatchString(name) {
			k.bad(path, "has a name that is not possible: want at most 60 letters, digits, dots, dashes and underscores")
		}
		if f.Kind != "" && f.Kind != "gitea" && f.Kind != "git" {
			k.bad(path.below("kind"), "is %q, want gitea or git", f.Kind)
		}
		if f.URL != "" {
			k.address(path.below("url"), f.URL)
		} else if f.Kind == "gitea" || k.given(path.below("token")...) {
			k.note(path.below("url"), fault.New(fault.ConfigMissing, "%s is missing: the forge's credentials go to this address alone", path.below("url")))
		}
		for key, s := range map[string]*secretConfig{"token": &f.Token, "webhookSecret": &f.WebhookSecret} {
			if !k.given(path.below(key)...) {
				continue
			}
			if err := s.resolve(k.base); err != nil {
				k.bad(path.below(key), "has no value: %w", err)
			}
		}
		if f.Kind == "git" && k.given(path.below("webhookSecret")...) {
			k.bad(path.below("webhookSecret"), "is of no use: a forge of the kind git sends no webhooks").Do("Remove it; polling finds what changes.")
		}
		c.Forges[name] = f
	}
}

var secretName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

func (c *config) checkSecrets(k *configCheck) {
	for name, s := range c.Secrets {
		path := keys{"secrets", name}
		if !secretName.MatchString(name) {
			k.bad(path, "must begin with a lower-case letter and have at most 40 lower-case letters, digits and underscores")
		}
		if err := s.resolve(k.base); err != nil {
			k.bad(path, "has no value: %w", err)
		} else if len(s.value) < secret.Shortest {
			k.bad(path, "has a value of %d bytes: fewer than %d cannot be kept out of what people see", len(s.value), secret.Shortest)
		}
		c.Secrets[name] = s
	}
}

func (c *config) checkPlatform(k *configCheck) {
	p := c.Platform
	between(k, keys{"platform", "poll"}, p.Poll, time.Second, 24*time.Hour, wantPoll, whyPoll)
	if p.Repository == "" {
		for _, key := range []string{"branch", "path", "forge"} {
			if k.given("platform", key) {
				k.bad(keys{"platform", key}, "means nothing without platform.repository")
			}
		}
		return
	}
	if p.Directory != "" {
		k.bad(keys{"platform", "directory"}, "stands beside platform.repository; the platform configuration comes from one of them")
	}
	if clean := filepath.ToSlash(filepath.Clean(p.Path)); clean == ".." || strings.HasPrefix(clean, "../") {
		k.bad(keys{"platform", "path"}, "is %q, want a folder inside the repository", p.Path)
	}
	if k.address(keys{"platform", "repository"}, p.Repository) {
		c.checkForge(k, keys{"platform"}, "repository", p.Forge, p.Repository)
	}
}

// checkForge refuses a forge that is not known, and an address that is not on it.
func (c *config) checkForge(k *configCheck, path keys, key, name, address string) {
	err := c.onForge(name, address)
	f, ok := fault.As(err)
	if !ok {
		return
	}
	if f.Code == fault.ForgeUnknown {
		key = "forge"
	}
	k.note(path.below(key), f)
}

// environments returns what the platform configuration has, or nil if that is not known before the server runs.
func (c *config) environments() *platform.Platform {
	files := builtInPlatform()
	switch {
	case c.Platform.Repository != "":
		return nil
	case c.Platform.Directory != "":
		var err error
		if files, err = readPlatform(c.Platform.Directory); err != nil {
			return nil
		}
	}
	p, _ := platform.Load(files)
	return p
}

func (c *config) checkRepository(k *configCheck, path keys, r repositoryConfig, environments *platform.Platform) {
	if r.Name != "" && !repositoryName.MatchString(r.Name) {
		k.bad(path.below("name"), "is %q, want OWNER/NAME of letters, digits, dots, dashes and underscores", r.Name)
	}
	if r.URL != "" && k.address(path.below("url"), r.URL) {
		c.checkForge(k, path, "url", r.Forge, r.URL)
	} else if _, known := c.Forges[r.Forge]; !known && r.Forge != "" {
		k.note(path.below("forge"), c.unknownForge(r.Forge))
	}
	if k.given(path.below("branches")...) && len(r.Branches) == 0 {
		k.bad(path.below("branches"), "is empty, and then nothing is followed")
	}
	for _, branch := range slices.Sorted(maps.Keys(r.Branches)) {
		if branch == "" || len(r.Branches[branch]) == 0 {
			k.bad(path.below("branches", branch), "needs the name of a branch and at least one environment")
		}
		for i, name := range r.Branches[branch] {
			at := path.below("branches", branch, strconv.Itoa(i))
			if !environmentName.MatchString(name) {
				k.bad(at, "is %q, which no environment can be called: %s", name, environmentForm)
			} else if environments != nil {
				_, err := environments.Environment(name)
				if f, unknown := fault.As(err); unknown {
					k.note(at, f)
				}
			}
		}
	}
	for i, pattern := range r.Paths {
		if !doublestar.ValidatePattern(pattern) {
			k.bad(path.below("paths", strconv.Itoa(i)), "is %q, which is not a pattern of paths", pattern)
		}
	}
	between(k, path.below("poll"), r.Poll, time.Second, 24*time.Hour, wantPoll, whyPoll)
	if r.Poll > time.Second && r.Poll%time.Second != 0 {
		k.bad(path.below("poll"), "is %s, want whole seconds", r.Poll)
	}
}
