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
		Use: "demo", Short: "See it work: a Git server, a database, real pushes and a revert, all on this machine", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find our own binary: %w", err)
			}
			return demo.Run(c.Context(), demo.Options{Dir: dir, Binary: binary, Exit: once, Out: c.OutOrStdout()})
		},
	}
	// A folder of the temporary directory, because the embedded Postgres must be able to reach it as another user.
	c.Flags().StringVar(&dir, "dir", filepath.Join(os.TempDir(), fmt.Sprintf("reconciler-demo-%d", os.Getuid())), "where everything is kept; a demo that was stopped goes on there")
	c.Flags().BoolVar(&once, "exit", false, "end after the story, with exit code 0 only if every step was verified")
	return c
}
