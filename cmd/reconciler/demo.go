package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/internal/demo"
)

func newDemo() *cobra.Command {
	var dir string
	var once bool
	c := &cobra.Command{
		Use: "demo", Short: "See it work: a Git server, a database, real pushes and a revert, all on this machine", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if dir == "" {
				// The embedded Postgres must be able to reach it as another user.
				dir = filepath.Join(os.TempDir(), fmt.Sprintf("reconciler-demo-%d", os.Getuid()))
			}
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find our own binary: %w", err)
			}
			return demo.Run(c.Context(), demo.Options{Dir: dir, Binary: binary, Exit: once, Out: c.OutOrStdout()})
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "where everything is kept; a demo that was stopped goes on there (default: reconciler-demo-UID in the temporary folder)")
	c.Flags().BoolVar(&once, "exit", false, "end after the story, with exit code 0 only if every step was verified")
	return c
}
