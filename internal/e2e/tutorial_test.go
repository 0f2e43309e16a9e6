//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is a piece of the tutorial that is run, and the lines that its output must hold in this order.
type block struct {
	line   int
	script string
	output []string
}

var fence = regexp.MustCompile("^```(\\w*)$")

// blocks reads the shell blocks of a page with the output blocks that follow them.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	kind := ""
	var content []string
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; scanner.Scan(); number++ {
		match := fence.FindStringSubmatch(scanner.Text())
		switch {
		case match == nil && kind != "":
			content = append(content, scanner.Text())
		case match != nil && kind == "":
			kind, content = match[1]+" ", nil
		case match != nil:
			switch kind {
			case "sh ":
				out = append(out, block{line: number, script: strings.Join(content, "\n")})
			case "output ":
				out[len(out)-1].output = content
			}
			kind = ""
		}
	}
	return out
}

// The tutorial's commands are run as they stand, in one shell after the other's state.
func TestStoryOfTheTutorial(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "reconciler-tutorial-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	demo := exec.Command(binary(t), "demo", "--dir", filepath.Join(dir, "demo"))
	demo.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	told, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = demo.Process.Signal(os.Interrupt)
		_ = demo.Wait()
	})
	lines := bufio.NewScanner(told)
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C stops") {
		t.Log(lines.Text())
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	if err := os.WriteFile(state, []byte("cd "+root+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks(t, "../../docs/tutorial.md") {
		// Where the block before ended, the next begins: folder and exported variables.
		script := "set -euo pipefail\n. " + state + "\n" + b.script + "\n{ echo \"cd '$PWD'\"; export -p; } > " + state + "\n"
		shell := exec.Command("timeout", "60", "bash", "-c", script)
		shell.Env = append(os.Environ(), "DEMO_DIR="+filepath.Join(dir, "demo"))
		shell.WaitDelay = time.Second
		out, err := shell.CombinedOutput()
		if err != nil {
			t.Fatalf("docs/tutorial.md:%d: %v\n%s\n%s", b.line, err, b.script, out)
		}
		rest := string(out)
		for _, want := range b.output {
			i := strings.Index(rest, strings.TrimSpace(want))
			if i < 0 {
				// Columns may be wider or narrower than in the text.
				i = strings.Index(squeeze(rest), squeeze(want))
			}
			if i < 0 {
				t.Errorf("docs/tutorial.md:%d: the output does not hold %q:\n%s", b.line, want, out)
				continue
			}
		}
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }
