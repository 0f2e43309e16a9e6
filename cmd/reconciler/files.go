package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// localFileLimit is the largest Score file read from disk, in bytes; the reader itself refuses more than 1 MiB.
const localFileLimit = 2 << 20

// readLocal reads a file, - is standard input.
func readLocal(c *cobra.Command, name string) (score.Source, error) {
	if name == "-" {
		text, err := readLimited(c.InOrStdin(), localFileLimit)
		return score.Source{Name: "standard input", Data: text}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return score.Source{}, fault.New(fault.FileUnreadable, "%w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		return score.Source{}, fault.New(fault.FileUnreadable, "%s is a folder, not a Score file", name)
	}
	text, err := readLimited(f, localFileLimit)
	return score.Source{Name: filepath.ToSlash(name), Data: text}, err
}

// sources reads a Score file with its override for an environment, if there is one.
func sources(c *cobra.Command, name, environment string) (base score.Source, overrides []score.Source, err error) {
	if base, err = readLocal(c, name); err != nil || environment == "" || name == "-" {
		return base, nil, err
	}
	extension := filepath.Ext(name)
	override := strings.TrimSuffix(name, extension) + "." + environment + extension
	if _, err := os.Stat(override); err != nil {
		return base, nil, nil
	}
	o, err := readLocal(c, override)
	return base, []score.Source{o}, err
}

func newValidate() *cobra.Command {
	var environment environmentFlag
	var quiet bool
	var format outputFlag
	c := &cobra.Command{
		Use: "validate FILE…", Short: "Check Score files and tell every problem with its place", Args: cobra.MinimumNArgs(1),
		Long: "Check Score files against the specification score.dev/v1b1, without a server. - reads standard input.",
		RunE: func(c *cobra.Command, args []string) error {
			var all fault.List
			valid, names := 0, claims{}
			for _, name := range args {
				base, overrides, err := sources(c, name, string(environment))
				if err != nil {
					all = append(all, fault.Of(err)...)
					continue
				}
				workloads, faults := score.Load(base, overrides...)
				for _, w := range workloads {
					if taken := names.claim(w); taken != nil {
						faults = append(faults, taken)
					} else {
						valid++
					}
				}
				faults.Sort()
				all = append(all, faults...)
			}
			return report(c, format, all, quiet, fmt.Sprintf("%d valid", valid))
		},
	}
	c.Flags().VarP(&environment, "environment", "e", "merge FILE.ENVIRONMENT.yaml over each file first")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing when all is well")
	format.register(c)
	return c
}

// claims holds which workload has which name: in an environment a name is given once, and the server refuses a second.
type claims map[string]*score.Workload

// claim gives a workload its name, or says who has it. The same document may be named twice.
func (c claims) claim(w *score.Workload) *fault.Fault {
	first := c[w.Name]
	if first == nil {
		c[w.Name] = w
		return nil
	}
	if filepath.Clean(first.File) == filepath.Clean(w.File) && first.Document == w.Document {
		return nil
	}
	taken := fault.New(fault.NameTaken, "the name %q belongs to the workload at %s", w.Name, first.NameAt).At(w.NameAt).
		Do("Choose another metadata.name for one of the two.")
	w.Show(fault.List{taken})
	return taken
}

// report prints faults and sets the exit code.
func report(c *cobra.Command, format outputFlag, faults fault.List, quiet bool, summary string) error {
	if format != "table" {
		if err := write(c.OutOrStdout(), format, append(fault.List{}, faults...), nil); err != nil {
			return err
		}
	} else if err := fault.Print(c.OutOrStdout(), faults); err != nil {
		return err
	} else if !quiet || len(faults) > 0 {
		if len(faults) > 0 {
			fmt.Fprintln(c.OutOrStdout())
		}
		fmt.Fprintf(c.OutOrStdout(), "%s, %d errors, %d warnings\n", summary, len(faults.Errors()), len(faults.Warnings()))
	}
	if faults.Err() != nil {
		return exit(exitFailed)
	}
	return nil
}

func newFix() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use: "fix FILE…", Short: "Rewrite keys of other dialects to the specification's, keeping comments", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var all fault.List
			for _, name := range args {
				src, err := readLocal(c, name)
				if err != nil {
					return err
				}
				fixed, changes, faults := score.Fix(src)
				all = append(all, faults...)
				for _, change := range changes {
					say(c.ErrOrStderr(), "%s: %s", change.At, change.Text)
				}
				switch {
				case dry || name == "-":
					_, err = c.OutOrStdout().Write(fixed)
				case len(changes) > 0:
					err = replaceFile(name, fixed)
				}
				if err != nil {
					return err
				}
			}
			if len(all) > 0 {
				if err := fault.Print(c.ErrOrStderr(), all); err != nil {
					return err
				}
			}
			if all.Err() != nil {
				return exit(exitFailed)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "print the result instead of writing it")
	return c
}

// replaceFile writes a file so that it is whole whatever happens. A symbolic link stays one: what it leads to is written.
func replaceFile(name string, content []byte) error {
	err := func() error {
		target, err := filepath.EvalSymlinks(name)
		if err != nil {
			return err
		}
		info, err := os.Stat(target)
		if err != nil {
			return err
		}
		temporary, err := os.CreateTemp(filepath.Dir(target), filepath.Base(target)+".reconciler-*")
		if err != nil {
			return err
		}
		_, err = temporary.Write(content)
		err = errors.Join(err, temporary.Chmod(info.Mode().Perm()), temporary.Close())
		if err == nil {
			err = os.Rename(temporary.Name(), target)
		}
		if err != nil {
			return errors.Join(err, os.Remove(temporary.Name()))
		}
		return nil
	}()
	if err != nil {
		return fault.New(fault.FileUnreadable, "%w", err)
	}
	return nil
}

// workingCopy reads the Score files below a folder with everything that planning may read.
func workingCopy(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "node_modules", "vendor"}, entry.Name()) {
			return fs.SkipDir
		}
		info, err := entry.Info()
		if err != nil || !entry.Type().IsRegular() || info.Size() > 1<<20 {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		files[filepath.ToSlash(relative)] = string(text)
		return err
	})
	if err != nil {
		return nil, fault.New(fault.FileUnreadable, "%w", err)
	}
	return relevant(files), nil
}

// relevant keeps the Score files, their overrides, and the files that they refer to.
func relevant(files map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range files {
		if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
			out[name] = text
		}
	}
	for name, text := range files {
		if !score.Detect([]byte(text)) {
			continue
		}
		workloads, _ := score.Load(score.Source{Name: name, Data: []byte(text)})
		for _, w := range workloads {
			for _, c := range w.Containers {
				for _, f := range c.Files {
					full := filepath.ToSlash(filepath.Join(filepath.Dir(name), f.Source))
					if content, ok := files[full]; ok && f.Source != "" {
						out[full] = content
					}
				}
			}
		}
	}
	return out
}
