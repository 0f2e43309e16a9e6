package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/score"
	"github.com/innominatus/reconciler/pkg/secret"
)

// localPlan is what a Score file becomes without a server.
type localPlan struct {
	platform    string
	environment environmentFlag
}

func (l *localPlan) register(c *cobra.Command) {
	c.Flags().StringVar(&l.platform, "platform", "", "folder of a platform configuration (default: what is built in)")
	c.Flags().VarP(&l.environment, "environment", "e", "environment of the platform configuration")
}

// planned is what one workload of a file becomes. release is nil if its faults stop it.
type planned struct {
	workload *score.Workload
	release  *planner.Release
	faults   fault.List
}

// built is what a file becomes: its workloads in order, and what is wrong with the file or the platform as a whole, for
// which there may be no workload.
type built struct {
	platform *platform.Platform
	planned  []planned
	faults   fault.List
}

// all returns every fault.
func (b *built) all() fault.List {
	all := append(fault.List{}, b.faults...)
	for _, p := range b.planned {
		all = append(all, p.faults...)
	}
	all.Sort()
	return all
}

// load reads the platform configuration and the environment that is meant.
func (l *localPlan) load() (*platform.Platform, *platform.Environment, fault.List, error) {
	files := builtInPlatform()
	environment := "local"
	if l.platform != "" {
		var err error
		if files, err = readPlatform(l.platform); err != nil {
			return nil, nil, nil, err
		}
		environment = string(l.environment)
	}
	p, faults := platform.Load(files)
	if p == nil {
		return nil, nil, faults, nil
	}
	if environment == "" {
		return nil, nil, nil, fault.New(fault.UsageInvalid, "say which environment of %s is meant with -e", l.platform)
	}
	e, err := p.Environment(environment)
	return p, e, faults, err
}

// build plans the workloads of a Score file against nothing. Random values are the same for everybody, and no secret is
// real.
func (l *localPlan) build(c *cobra.Command, name string) (*built, error) {
	p, e, faults, err := l.load()
	if err != nil || p == nil || faults.Err() != nil {
		return &built{platform: p, faults: faults}, err
	}
	base, overrides, err := sources(c, name, string(l.environment))
	if err != nil {
		return nil, err
	}
	workloads, found := score.Load(base, overrides...)
	out := &built{platform: p, faults: append(faults, found...)}
	keys, err := secret.NewKeyring(make([]byte, secret.KeySize)) // values are examples, not secrets
	if err != nil {
		return nil, err
	}
	names, services := claims{}, map[string]recipe.Service{}
	for _, w := range workloads {
		services[w.Name] = planner.ServiceOf(w)
	}
	for _, w := range workloads {
		one := planned{workload: w}
		if taken := names.claim(w); taken != nil {
			one.faults = fault.List{taken}
		} else {
			one.release, one.faults = planner.Build(planner.Input{
				Workload: w, Environment: e, Platform: p, Services: services, Secrets: keys,
				Source: func(path string) ([]byte, error) { return os.ReadFile(filepath.FromSlash(path)) },
			})
		}
		out.planned = append(out.planned, one)
	}
	if out.faults.Err() == nil && len(out.planned) > 0 {
		out.hand()
	}
	return out, nil
}

// hand gives each warning about the file to the workload in whose document it is; what is in no document goes to the first.
func (b *built) hand() {
	for _, f := range b.faults {
		to := 0
		for i, p := range b.planned {
			if p.workload.At.File == f.Place.File && p.workload.At.Line <= f.Place.Line {
				to = i
			}
		}
		b.planned[to].faults = append(b.planned[to].faults, f)
	}
	for i := range b.planned {
		b.planned[i].faults.Sort()
	}
	b.faults = nil
}

func newRender() *cobra.Command {
	var local localPlan
	c := &cobra.Command{
		Use: "render FILE", Short: "Print the Kubernetes objects that a Score file becomes", Args: cobra.ExactArgs(1),
		Long: `Print the Kubernetes objects that the workloads of a Score file become, without a server. Generated names and passwords are
examples. If something is wrong with one of the workloads, nothing is printed.`,
		RunE: func(c *cobra.Command, args []string) error {
			b, err := local.build(c, args[0])
			if err != nil {
				return err
			}
			faults := b.all()
			if err := fault.Print(c.ErrOrStderr(), faults); err != nil {
				return err
			}
			if faults.Err() != nil {
				return exit(exitFailed)
			}
			return b.render(c.OutOrStdout())
		},
	}
	local.register(c)
	return c
}

// render writes the objects of all workloads as one YAML stream. What workloads share is in the release of each of them
// and written once.
func (b *built) render(w io.Writer) error {
	written := map[string]bool{}
	for _, p := range b.planned {
		for _, o := range p.release.Objects {
			if o.Unit == planner.UnitShared && written[o.Key()] {
				continue
			}
			written[o.Key()] = true
			tree, err := p.release.Open(o)
			if err != nil {
				return err
			}
			text, err := yaml.Marshal(tree)
			if err != nil {
				return fmt.Errorf("write %s %s: %w", o.Kind, o.Name, err)
			}
			if _, err := fmt.Fprintf(w, "---\n%s", text); err != nil {
				return err
			}
		}
	}
	return nil
}
