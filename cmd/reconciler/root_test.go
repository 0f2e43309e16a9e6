package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
)

func TestWrongCommandLinesAreUsageFaultsWithTheirOwnExitCode(t *testing.T) {
	t.Parallel()
	// Nothing listens there: what is asked of a server would be exit code 4.
	for _, line := range []string{
		"hold two", "hold two --reason", "logs abc", "logs 1.5", "logs -- -1", "runs abc", "runs show abc", "cancel abc", "jobs retry abc",
		"jobs cancel 99999999999999999999", "releases a -e ../x", "plans show", "apps --limit 1", "completion bash x", "token create",
	} {
		_, err := output(t.Context(), t, "http://127.0.0.1:1", strings.Fields(line)...)
		code, faults := exitCode(err)
		if code != exitUsage || len(faults) != 1 || faults[0].Code != fault.UsageInvalid {
			t.Errorf("%s: exit code %d, %v", line, code, faults)
		}
	}
}

func TestAnUnexpectedErrorOfACommandDoesNotPromiseThatItIsTriedAgain(t *testing.T) {
	t.Parallel()
	_, faults := exitCode(errors.New("disk on fire"))
	if advice := faults[0].Advice(); !strings.Contains(advice, "a command can be given again") {
		t.Error(advice)
	}
}
