package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
)

// config is the server's configuration file.
type config struct {
	// Instance names this installation in commit statuses and comments, so that two installations that report to one
	// commit do not overwrite each other. Default: default.
	Instance string `yaml:"instance"`
	// Data is the folder for the embedded database, mirrors of repositories and the key. Default: ./data beside the
	// configuration file.
	Data string `yaml:"data"`
	// KeyFile holds the keys that stored secrets are encrypted with: one base64 key of 32 bytes per line, the newest first.
	// It is made when it is missing. Default: key in the data folder. Keep a copy: without it, stored secrets are lost.
	KeyFile string `yaml:"keyFile"`
	// Database is where the state is.
	Database databaseConfig `yaml:"database"`
	// Server is the HTTP side.
	Server serverConfig `yaml:"server"`
	// Platform is where the platform team's configuration comes from.
	Platform platformConfig `yaml:"platform"`
	// Forges by name; repositories refer to them.
	Forges map[string]forgeConfig `yaml:"forges"`
	// Secrets by name, for requests of golden paths: what a platform writes as ${secrets.NAME}. Names are lower-case letters,
	// digits and underscores.
	Secrets map[string]secretConfig `yaml:"secrets"`
	// Repositories that are watched. More can be added through the API.
	Repositories []repositoryConfig `yaml:"repositories"`
	// Queue sets how many handlers of jobs run at once.
	Queue queueConfig `yaml:"queue"`
	// Log sets what is written to standard error.
	Log logConfig `yaml:"log"`
	// Telemetry sends traces and opens a debug port.
	Telemetry telemetryConfig `yaml:"telemetry"`
	// Git sets where remotes may be.
	Git gitConfig `yaml:"git"`
	// History is how long ended runs with their logs, releases, plans and reports are kept, 24h to 87600h. The newest 50
	// of each application stay, and what is deployed. Default: 2160h, 90 days.
	History time.Duration `yaml:"history"`

	// file is where it was read from, "" if there is no file.
	file string
}

// databaseConfig is where the state is.
type databaseConfig struct {
	// URL of a PostgreSQL 15 or newer, or the name of the environment variable or file that holds it. Without any of them
	// the reconciler starts a server of its own in the data folder.
	URL secretConfig `yaml:"url"`
	// Binaries is the folder of initdb and postgres for the server of our own. Default: $PGBIN, else they are looked for.
	Binaries string `yaml:"binaries"`
	// MaxConnections of the pool, 4 to 1000. Default: 16.
	MaxConnections int `yaml:"maxConnections"`
	// PgBouncer says that the URL leads through PgBouncer in transaction mode, which keeps no sessions: give direct as well.
	PgBouncer bool `yaml:"pgbouncer"`
	// Direct is the URL of the same database, as the same user, past PgBouncer: there the schema is migrated when a server
	// starts, and each replica keeps one connection on which it hears of new jobs. While that is lost, idle workers look for
	// jobs every 5 s.
	Direct secretConfig `yaml:"direct"`
}

// serverConfig is the HTTP side.
type serverConfig struct {
	// Listen is the address that is listened on, HOST:PORT. Default: 127.0.0.1:8080.
	Listen string `yaml:"listen"`
	// URL is how people reach the server; statuses and comments link there. Default: http:// and the address.
	URL string `yaml:"url"`
}

// platformConfig is where the platform team's configuration comes from: a folder or a Git repository.
type platformConfig struct {
	// Directory is a folder, relative to the configuration file.
	Directory string `yaml:"directory"`
	// Repository is the URL of a Git repository (http or https).
	Repository string `yaml:"repository"`
	// Branch of the repository. Default: main.
	Branch string `yaml:"branch"`
	// Path is the folder in the repository. Default: its root.
	Path string `yaml:"path"`
	// Forge names the forge whose credentials are used for the repository; the repository must be on it.
	Forge string `yaml:"forge"`
	// Poll is how often it is looked at, 1s to 24h. Default: 30s.
	Poll time.Duration `yaml:"poll"`
}

// forgeConfig is a forge with one account.
type forgeConfig struct {
	// Kind is gitea, or git for remotes without an API.
	Kind string `yaml:"kind,required"`
	// URL of the forge. Its credentials go to this scheme, host and port and nowhere else. Not needed for git without a token.
	URL string `yaml:"url"`
	// Username for Git over HTTP. Default: reconciler; forges take any with a token.
	Username string `yaml:"username"`
	// Token for the API and for Git over HTTP.
	Token secretConfig `yaml:"token"`
	// WebhookSecret is shared with the forge's webhooks at /webhooks/NAME. Without it there is no such address. Not for git,
	// which sends none.
	WebhookSecret secretConfig `yaml:"webhookSecret"`
	At            fault.Place
}

// secretConfig says where a secret value is: exactly one of its fields.
type secretConfig struct {
	// File holds the value; white space around it is left out.
	File string `yaml:"file"`
	// Env is the name of the environment variable that holds it.
	Env string `yaml:"env"`
	At  fault.Place

	value string
}

// repositoryConfig is a repository that is watched.
type repositoryConfig struct {
	// Name is OWNER/NAME as on the forge.
	Name string `yaml:"name,required"`
	// URL that Git fetches from (http or https).
	URL string `yaml:"url,required"`
	// Forge is the name of the forge that the URL is on; without it, nothing is reported and no credentials are sent.
	Forge string `yaml:"forge"`
	// Branches says which environments follow which branch: {main: [production]}.
	Branches map[string][]string `yaml:"branches,required"`
	// Paths are patterns of Score files. Default: **/score.yaml and **/*.score.yaml (also .yml).
	Paths []string `yaml:"paths"`
	// Poll is how often the remote is asked, in whole seconds from 1s to 24h. Default: 60s.
	Poll time.Duration `yaml:"poll"`
	At   fault.Place
}

// queueConfig sets how the queue works in this process.
type queueConfig struct {
	// Workers is how many handlers of jobs run at once in this process, 1 to 256. As many jobs again may be on their way to
	// their end. Default: 16.
	Workers int `yaml:"workers"`
	// PerRepository is how many jobs of one repository run at once in the whole installation, 0 to 1000. Default: 0, no limit.
	PerRepository int `yaml:"perRepository"`
	// PerOwner is how many jobs of all repositories of one owner run at once in the whole installation, 0 to 1000. Default:
	// 0, no limit.
	PerOwner int `yaml:"perOwner"`
	// Lease is how long a job stays taken after the last sign of life of its worker, 3s to 10m. Default: 10s.
	Lease time.Duration `yaml:"lease"`
}

// logConfig sets what is written to standard error.
type logConfig struct {
	// Format is json or console. Default: console on a terminal, else json.
	Format string `yaml:"format"`
	// Level is debug, info, warn or error. Default: info.
	Level string `yaml:"level"`
}

// telemetryConfig sends traces and opens a debug port.
type telemetryConfig struct {
	// Traces is the address of an OTLP receiver over HTTP, for example http://collector:4318. Default: no traces.
	Traces string `yaml:"traces"`
	// Debug is the address of a port with profiles (pprof); keep it on loopback. Default: none.
	Debug string `yaml:"debug"`
}

// gitConfig sets where remotes may be.
type gitConfig struct {
	// DenyPrivate refuses remotes in private and loopback networks. Link-local addresses are always refused.
	DenyPrivate bool `yaml:"denyPrivate"`
}

// loadConfig reads and validates the configuration; all problems are told at once. "" takes the defaults.
func loadConfig(path string) (*config, error) {
	c := &config{file: path}
	var faults fault.List
	var text []byte
	name, base := "", "."
	if path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, fault.New(fault.ConfigUnreadable, "%w", err)
		}
		name, base = filepath.Base(path), filepath.Dir(path)
		faults = document.Decode(name, text, c)
		if slices.ContainsFunc(faults, func(f *fault.Fault) bool { return f.Code == fault.ConfigSyntax }) {
			return nil, faults // values that were not read cannot be judged
		}
	}
	c.defaults(base)
	source := document.Read(name, text)
	faults = append(faults, c.check(&configCheck{text: source, base: base, told: faults})...)
	hide(source, faults)
	faults.Sort()
	return c, faults.Err()
}

// defaults fills what the file leaves open; relative paths start from the file's folder.
func (c *config) defaults(base string) {
	rooted := func(path, otherwise string) string {
		path = cmp.Or(path, otherwise)
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(base, path)
	}
	c.Instance = cmp.Or(c.Instance, "default")
	c.Data = rooted(c.Data, "data")
	if absolute, err := filepath.Abs(c.Data); err == nil {
		c.Data = absolute
	}
	c.KeyFile = cmp.Or(rooted(c.KeyFile, ""), filepath.Join(c.Data, "key"))
	c.Server.Listen = cmp.Or(c.Server.Listen, "127.0.0.1:8080")
	c.Server.URL = strings.TrimSuffix(cmp.Or(c.Server.URL, "http://"+c.Server.Listen), "/")
	c.Platform.Directory = rooted(c.Platform.Directory, "")
	c.Platform.Branch = cmp.Or(c.Platform.Branch, "main")
	c.Platform.Poll = cmp.Or(c.Platform.Poll, 30*time.Second)
	c.Log.Level = cmp.Or(c.Log.Level, "info")
	c.Database.Binaries = cmp.Or(c.Database.Binaries, os.Getenv("PGBIN"))
}

// secretValues are the secrets of golden paths by name.
func (c *config) secretValues() map[string]string {
	out := map[string]string{}
	for name, s := range c.Secrets {
		out[name] = s.value
	}
	return out
}

// resolve reads the value from where it is.
func (s *secretConfig) resolve(base string) error {
	switch {
	case s.File != "" && s.Env != "":
		return errors.New("give either file or env")
	case s.Env != "":
		value, ok := os.LookupEnv(s.Env)
		if !ok {
			return errors.New("the environment variable " + s.Env + " is not set")
		}
		if s.value = strings.TrimSpace(value); s.value == "" {
			return errors.New("the environment variable " + s.Env + " is empty")
		}
	case s.File != "":
		path := s.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(base, path)
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("there is no file " + path)
		}
		if err != nil {
			return err
		}
		if s.value = strings.TrimSpace(string(text)); s.value == "" {
			return errors.New("the file " + path + " is empty")
		}
	default:
		return errors.New("give file or env")
	}
	return nil
}
