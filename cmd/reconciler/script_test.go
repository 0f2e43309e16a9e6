package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/innominatus/reconciler/internal/testenv"
)

// tests ends what testenv started, in the process that runs the tests.
type tests struct{ *testing.M }

func (t tests) Run() int { return testenv.Run(t.M) }

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){
		"reconciler": func() { os.Exit(execute(context.Background(), os.Args[1:])) },
	})
}

// The command line as people use it; each script is a story of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true})
}
