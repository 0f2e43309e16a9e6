package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/innominatus/reconciler/testdata/repos"
)

// state is what a demo has to know of the one before it.
type state struct {
	// Git and Server are the addresses of the Git server and the reconciler; they stay the same.
	Git    string `json:"git"`
	Server string `json:"server"`
}

// prepare makes the folder with the repositories and the configuration, or finds what an earlier demo left.
func (d *demo) prepare(ctx context.Context) error {
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	text, err := os.ReadFile(d.path("state.json"))
	switch {
	case err == nil:
		d.say("Going on with the demo in %s.", d.Dir)
		if err := json.Unmarshal(text, &d.state); err != nil {
			return fmt.Errorf("read the demo's state: %w", err)
		}
		return d.configure()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the demo's state: %w", err)
	}
	d.say("Preparing a demo in %s.", d.Dir)
	if d.state.Git, err = freeAddress(); err != nil {
		return err
	}
	if d.state.Server, err = freeAddress(); err != nil {
		return err
	}
	if err := d.platform(ctx); err != nil {
		return err
	}
	if err := d.application(ctx); err != nil {
		return err
	}
	if err := d.configure(); err != nil {
		return err
	}
	if text, err = json.Marshal(d.state); err != nil {
		return fmt.Errorf("write the demo's state: %w", err)
	}
	return os.WriteFile(d.path("state.json"), text, 0o644)
}

// configure writes the server's configuration.
func (d *demo) configure() error {
	text := fmt.Sprintf(`# Written by the demo.
instance: demo
data: data
server:
  listen: %s
platform:
  repository: http://%s/platform/config.git
  poll: 1s
repositories:
  - name: %s
    url: http://%s/%s.git
    branches: {main: [%s]}
    poll: 1s
log: {format: json}
`, d.state.Server, d.state.Git, repository, d.state.Git, repository, environment)
	return os.WriteFile(d.path("reconciler.yaml"), []byte(text), 0o644)
}

// platform makes the platform team's repository.
func (d *demo) platform(ctx context.Context) error {
	work := d.path("work", "platform")
	if err := d.repository(ctx, "platform/config", work); err != nil {
		return err
	}
	if err := overlay("platform", work); err != nil {
		return err
	}
	return d.push(ctx, work, "Decide where the shop runs")
}

// application makes the application repository, still empty.
func (d *demo) application(ctx context.Context) error {
	return d.repository(ctx, repository, d.work())
}

func (d *demo) work() string { return d.path("work", "shop") }

// repository makes a bare repository and a clone to work in.
func (d *demo) repository(ctx context.Context, name, work string) error {
	bare := d.path("git", name+".git")
	for _, dir := range []string{bare, work} {
		// What a demo left that was killed while it prepared.
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("clear %s: %w", dir, err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	if _, err := git(ctx, bare, "init", "--bare", "--initial-branch=main"); err != nil {
		return err
	}
	if _, err := git(ctx, bare, "config", "http.receivepack", "true"); err != nil {
		return err
	}
	if _, err := git(ctx, work, "init", "--initial-branch=main"); err != nil {
		return err
	}
	_, err := git(ctx, work, "remote", "add", "origin", "http://"+d.state.Git+"/"+name+".git")
	if name == "platform/config" {
		// Its first push happens before the server that serves it runs.
		_, err = git(ctx, work, "remote", "set-url", "origin", bare)
	}
	return err
}

// push commits what is in a work tree and pushes it.
func (d *demo) push(ctx context.Context, work, message string) error {
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "--message", message}, {"push", "--quiet", "origin", "main"}} {
		if _, err := git(ctx, work, args...); err != nil {
			return err
		}
	}
	return nil
}

// git runs git in a folder with an identity of its own and without the user's configuration.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Dana Developer", "GIT_AUTHOR_EMAIL=dana@shop.example",
		"GIT_COMMITTER_NAME=Dana Developer", "GIT_COMMITTER_EMAIL=dana@shop.example")
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(problem.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// overlay copies a folder of the example repositories over a work tree.
func overlay(from, to string) error {
	return fs.WalkDir(repos.Files, from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		content, err := fs.ReadFile(repos.Files, name)
		if err != nil {
			return err
		}
		path := filepath.Join(to, relative)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, content, 0o644)
	})
}

// freeAddress returns an address of loopback that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
