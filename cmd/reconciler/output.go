package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/innominatus/reconciler/pkg/fault"
)

// outputFlag is -o of the commands that list things.
type outputFlag string

func (o *outputFlag) register(c *cobra.Command) {
	*o = "table"
	c.Flags().VarP(o, "output", "o", "table, json or yaml")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// String implements pflag.Value.
func (o *outputFlag) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return "format" }

// Set implements pflag.Value.
func (o *outputFlag) Set(s string) error {
	switch s {
	case "table", "json", "yaml":
		*o = outputFlag(s)
		return nil
	default:
		return fmt.Errorf("%q is not table, json or yaml", s)
	}
}

// write prints a value as JSON or YAML, or as the table that the function makes of it.
func write[T any](w io.Writer, format outputFlag, value T, table func(T) [][]string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case "yaml":
		text, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("write yaml: %w", err)
		}
		_, err = w.Write(text)
		return err
	default:
		return writeTable(w, table(value))
	}
}

// writeTable prints rows in columns; the first row is the head.
func writeTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = strings.ReplaceAll(fault.Plain(row[i]), "\t", " ") // a tab would begin another column
		}
		if _, err := fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// say prints a line. What others wrote, in a Score file or on a server, can neither break it nor drive the terminal.
func say(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, fault.Plain(fmt.Sprintf(format, args...)))
}

// short is the beginning of a commit or digest, as people write it.
func short(s string) string { return s[:min(len(s), 12)] }

// dash stands for what is empty.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
