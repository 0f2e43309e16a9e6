package check

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// tip is the commit that a repository has in the end.
const tip = "origin/main"

// tree returns all files of a commit by their paths.
func tree(ctx context.Context, dir, commit string) (map[string]string, error) {
	packed, err := git(ctx, dir, "archive", "--format=tar", commit)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for r := tar.NewReader(bytes.NewBufferString(packed)); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", commit, dir, err)
		}
		if head.Typeflag == tar.TypeDir || head.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", commit, dir, err)
		}
		files[head.Name] = string(text)
	}
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

// stays says that a file was never changed from one commit to a later one.
func stays(ctx context.Context, dir, from, to, path string) (bool, error) {
	_, err := git(ctx, dir, "merge-base", "--is-ancestor", from, to)
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.ExitCode() == 1 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	changes, err := git(ctx, dir, "log", "--format=%H", from+".."+to, "--", path)
	return changes == "", err
}

// contains says whether a line of a commit's files matches an expression.
func contains(ctx context.Context, dir, commit, line string) (bool, error) {
	_, err := git(ctx, dir, "grep", "--quiet", "-e", line, commit)
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}

// commit is one of the deployment repository, with the trailers of its message and what it did to files: A for one that is new,
// D for one that is gone, M for another content.
type commit struct {
	hash     string
	trailers map[string]string
	changed  map[string]string
}

// commits returns the commits of a branch, the oldest first.
func commits(ctx context.Context, dir, branch string) (list []commit, err error) {
	out, err := git(ctx, dir, "log", "--reverse", "--first-parent", "--name-status", "--no-renames", "--format=%x01%H%n%B%x02", branch)
	if err != nil {
		return nil, err
	}
	for _, text := range strings.Split(out, "\x01")[1:] {
		head, names, _ := strings.Cut(text, "\x02")
		hash, message, _ := strings.Cut(head, "\n")
		c := commit{hash: hash, trailers: map[string]string{}, changed: map[string]string{}}
		for line := range strings.Lines(message) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				c.trailers[name] = value
			}
		}
		for line := range strings.Lines(names) {
			if how, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
				c.changed[name] = how
			}
		}
		list = append(list, c)
	}
	return list, nil
}
