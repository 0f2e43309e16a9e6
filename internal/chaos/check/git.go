package check

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

var serial = regexp.MustCompile(`\bs[0-9]{6}\b`)

// serialIn returns the serial number in a text, "" if there is none.
func serialIn(text string) string { return serial.FindString(text) }

func git(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		return "", fmt.Errorf("git %v: %w: %s", args, err, exit.Stderr)
	}
	return string(out), err
}

// show returns a file of a commit.
func show(ctx context.Context, dir, commit, path string) (text string, found bool, err error) {
	list, err := git(ctx, dir, "ls-tree", "--name-only", commit, "--", path)
	if err != nil || list == "" {
		return "", false, err
	}
	text, err = git(ctx, dir, "show", commit+":"+path)
	return text, err == nil, err
}

// contains says whether a line of a commit's files matches an expression.
func contains(ctx context.Context, dir, commit, line string) (bool, error) {
	_, err := git(ctx, dir, "grep", "--quiet", "-e", line, commit)
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}

// commit is one of the deployment repository, with the trailers of its message and how many files it changed.
type commit struct {
	hash     string
	trailers map[string]string
	changed  int
}

// commits returns the commits of a branch, the oldest first.
func commits(ctx context.Context, dir, branch string) (list []commit, err error) {
	out, err := git(ctx, dir, "log", "--reverse", "--first-parent", "--name-only", "--format=%x01%H%n%B%x02", branch)
	if err != nil {
		return nil, err
	}
	for _, text := range strings.Split(out, "\x01")[1:] {
		head, names, _ := strings.Cut(text, "\x02")
		hash, message, _ := strings.Cut(head, "\n")
		c := commit{hash: hash, trailers: map[string]string{}, changed: len(strings.Fields(names))}
		for line := range strings.Lines(message) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				c.trailers[name] = value
			}
		}
		list = append(list, c)
	}
	return list, nil
}
