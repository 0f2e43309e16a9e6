package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/server"
)

func newPlatform() *cobra.Command {
	var flags clientFlags
	var format outputFlag
	c := &cobra.Command{
		Use: "platform", Short: "Show which version of the platform configuration is in force, and what is wrong with a refused one", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			now, err := get[server.Status](c.Context(), client, "/status", nil)
			if err != nil {
				return err
			}
			if format != "table" {
				return write(c.OutOrStdout(), format, now.Platform, nil)
			}
			return printPlatform(c.OutOrStdout(), now.Platform)
		},
	}
	flags.register(c)
	format.register(c)
	return c
}

// printPlatform prints the versions, and below them what is to be said about them.
func printPlatform(w io.Writer, state server.PlatformState) error {
	rows := [][]string{{"STATE", "SOURCE", "COMMIT", "DIGEST", "SINCE"}}
	var faults fault.List
	for _, v := range []struct {
		state string
		*platform.Revision
	}{{"in force", state.InForce}, {"refused", state.Refused}} {
		if v.Revision != nil {
			rows = append(rows, []string{v.state, v.Source, dash(short(v.Commit)), short(v.Digest), v.CreatedAt.UTC().Format(time.DateTime)})
			faults = append(faults, v.Faults...)
		}
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	if len(faults) > 0 {
		fmt.Fprintln(w)
	}
	return fault.Print(w, faults)
}
