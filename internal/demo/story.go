package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/innominatus/reconciler/pkg/server"
	"github.com/innominatus/reconciler/pkg/status"
)

// step is a part of the story: a commit, what a person should see, and how it is verified.
type step struct {
	title string
	// folder of the example repository that is laid over the work tree; "" where change makes the commit.
	folder  string
	message string
	// change makes the commit instead of a folder.
	change func(ctx context.Context, d *demo) error
	// before runs before the push, with the files in place.
	before func(ctx context.Context, d *demo) error
	verify func(ctx context.Context, d *demo, commit string) error
}

// story is told from the first to the last step.
var story = []step{
	{
		title: "Two applications are deployed for the first time", folder: "shop/1-first", message: "Add checkout and frontend",
		verify: verifyFirst,
	},
	{
		title: "A change: the plan first, then the push", folder: "shop/2-change", message: "Raise checkout to 2.4.0 with more memory",
		before: showPlan, verify: verifyChange,
	},
	{
		title: "A broken Score file changes nothing, and says where it is wrong", folder: "shop/3-broken", message: "Break checkout",
		verify: verifyBroken,
	},
	{
		title: "A revert repairs it: nothing has to be written", message: `Revert "Break checkout"`, change: revert,
		verify: verifyRepaired,
	},
	{
		title: "A resource that holds data is removed: a person has to confirm", folder: "shop/4-remove", message: "Remove the cart's cache",
		verify: verifyRemoved,
	},
	{
		title: "A revert brings the previous release back, byte for byte", message: `Revert "Remove the cart's cache"`, change: revert,
		verify: verifyReverted,
	},
}

// tell does a step, or says that an earlier demo did it.
func (d *demo) tell(ctx context.Context, number int, s step) error {
	d.say("\n── Step %d of %d: %s", number, len(story), s.title)
	log, err := git(ctx, d.work(), "log", "--format=%s", "--reverse", "--all")
	if err != nil {
		return err
	}
	commits := strings.Count(log, "\n") + 1
	if log == "" {
		commits = 0
	}
	if commits > number {
		d.say("   done before")
		return nil
	}
	if commits < number {
		if err := d.commit(ctx, s); err != nil {
			return err
		}
	}
	if _, err := git(ctx, d.work(), "push", "--quiet", "origin", "main"); err != nil {
		return err
	}
	commit, err := git(ctx, d.work(), "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	d.say("   git push: %s %s", commit[:7], s.message)
	// A forge would send a webhook now; a plain Git server sends none, and the next poll would be a second away.
	var ok struct{}
	if err := d.api.call(ctx, http.MethodPost, "/repositories/"+repository+"/look", struct{}{}, &ok); err != nil {
		return err
	}
	return s.verify(ctx, d, commit)
}

func (d *demo) commit(ctx context.Context, s step) error {
	if s.change != nil {
		return s.change(ctx, d)
	}
	if err := overlay(s.folder, d.work()); err != nil {
		return err
	}
	if s.before != nil {
		if err := s.before(ctx, d); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "--message", s.message}} {
		if _, err := git(ctx, d.work(), args...); err != nil {
			return err
		}
	}
	return nil
}

func revert(ctx context.Context, d *demo) error {
	_, err := git(ctx, d.work(), "revert", "--no-edit", "HEAD")
	return err
}

// deployed waits until both applications are deployed from a commit.
func (d *demo) deployed(ctx context.Context, commit string) (apps map[string]server.Application, err error) {
	err = d.until(ctx, "both applications to be deployed", func(ctx context.Context) (bool, error) {
		if apps, err = d.api.applications(ctx); err != nil {
			return false, err
		}
		for _, name := range []string{"checkout", "frontend"} {
			a, known := apps[name]
			if !known || a.State != "deployed" || a.Commit != commit || a.Applied != a.Generation {
				return false, fmt.Errorf("%s is %s", name, a.State)
			}
		}
		return true, nil
	})
	return apps, err
}

func (d *demo) target() string { return d.path("data", "target", environment) }

// manifests returns the target's files and one hash of all of them.
func (d *demo) manifests() (names []string, hash string, err error) {
	h := sha256.New()
	err = filepath.WalkDir(d.target(), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".yaml" {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(d.target(), name)
		names = append(names, relative)
		fmt.Fprintf(h, "%s %d %s", relative, len(content), content)
		return err
	})
	return names, hex.EncodeToString(h.Sum(nil)), err
}

// holds fails unless a manifest has a text in it.
func (d *demo) holds(name, text string) error {
	content, err := os.ReadFile(filepath.Join(d.target(), name))
	if err != nil {
		return err
	}
	if !strings.Contains(string(content), text) {
		return fmt.Errorf("%s does not hold %q", name, text)
	}
	return nil
}

func verifyFirst(ctx context.Context, d *demo, commit string) error {
	apps, err := d.deployed(ctx, commit)
	if err != nil {
		return err
	}
	if apps["checkout"].Applied != 1 || apps["frontend"].Applied != 1 {
		return errors.New("the first generation was expected")
	}
	names, _, err := d.manifests()
	if err != nil {
		return err
	}
	d.say("   both are deployed; %d manifests are in %s:", len(names), d.target())
	for _, n := range names {
		d.say("     %s", n)
	}
	for name, text := range map[string]string{
		"checkout/checkout.deployment.apps.yaml":      "registry.shop.example/checkout:2.3.1",
		"checkout/checkout-main-files.configmap.yaml": "name = checkout",
		"frontend/frontend.deployment.apps.yaml":      "value: http://checkout:80",
	} {
		if err := d.holds(name, text); err != nil {
			return err
		}
	}
	out, err := d.command(ctx, "resources", "--environment", environment)
	if err != nil {
		return err
	}
	d.say("   what the platform provided:\n%s", indent(out))
	for _, kind := range []string{"postgres.default#checkout.db", "route.default#checkout.public", "dns.default#checkout.host"} {
		if !strings.Contains(out, kind) {
			return fmt.Errorf("resource %s is not provided", kind)
		}
	}
	return nil
}

func showPlan(ctx context.Context, d *demo) error {
	out, err := d.command(ctx, "plan", d.work(), "--repository", repository, "--environment", environment)
	if err != nil {
		return err
	}
	d.say("   reconciler plan says before anything is committed:\n%s", indent(out))
	for _, text := range []string{"checkout:2.3.1 → registry.shop.example/checkout:2.4.0", "256Mi → 512Mi", "variables.CURRENCY"} {
		if !strings.Contains(out, text) {
			return fmt.Errorf("the plan does not tell %q", text)
		}
	}
	return nil
}

func verifyChange(ctx context.Context, d *demo, commit string) error {
	apps, err := d.deployed(ctx, commit)
	if err != nil {
		return err
	}
	if apps["checkout"].Applied != 2 || apps["frontend"].Applied != 1 {
		return errors.New("generation 2 of checkout and 1 of frontend were expected")
	}
	d.say("   checkout is deployed as generation 2; frontend did not change")
	if err := d.holds("checkout/checkout.deployment.apps.yaml", "checkout:2.4.0"); err != nil {
		return err
	}
	return d.remember("changed")
}

// remember keeps the hash of the target under a name; same compares with it.
func (d *demo) remember(name string) error {
	_, hash, err := d.manifests()
	if err != nil {
		return err
	}
	return os.WriteFile(d.path(name+".sha256"), []byte(hash), 0o644)
}

func (d *demo) same(name string) (bool, error) {
	_, hash, err := d.manifests()
	if err != nil {
		return false, err
	}
	kept, err := os.ReadFile(d.path(name + ".sha256"))
	return string(kept) == hash, err
}

func verifyBroken(ctx context.Context, d *demo, commit string) error {
	var checkout server.Application
	err := d.until(ctx, "checkout to be told invalid", func(ctx context.Context) (bool, error) {
		apps, err := d.api.applications(ctx)
		checkout = apps["checkout"]
		return checkout.State == "invalid" && checkout.Commit == commit, err
	})
	if err != nil {
		return err
	}
	text := status.PlainFaults(checkout.Faults)
	d.say("   checkout is not deployed, and this is why:\n%s", indent(text))
	for _, wanted := range []string{"checkout/score.yaml:26:5", "readinessProbe", "[ORC-1012]"} {
		if !strings.Contains(text, wanted) {
			return fmt.Errorf("the fault does not tell %q", wanted)
		}
	}
	if same, err := d.same("changed"); !same {
		return fmt.Errorf("the target was touched: %w", errors.Join(err, errors.New("its files differ")))
	}
	d.say("   what runs was not touched: generation %d", checkout.Applied)
	return nil
}

func verifyRepaired(ctx context.Context, d *demo, commit string) error {
	apps, err := d.deployed(ctx, commit)
	if err != nil {
		return err
	}
	if apps["checkout"].Applied != 2 {
		return fmt.Errorf("generation 2 was expected, got %d", apps["checkout"].Applied)
	}
	d.say("   checkout is valid again, and still generation 2: the content is the same")
	return nil
}

func verifyRemoved(ctx context.Context, d *demo, commit string) error {
	var checkout server.Application
	err := d.until(ctx, "checkout to wait or be deployed", func(ctx context.Context) (bool, error) {
		apps, err := d.api.applications(ctx)
		checkout = apps["checkout"]
		return checkout.Commit == commit && (checkout.State == "waiting" || checkout.Applied == 3), err
	})
	if err != nil {
		return err
	}
	if checkout.State == "waiting" {
		d.say("   checkout waits: %s", checkout.WaitingFor.Message)
		out, err := d.command(ctx, "plans", "show", checkout.Waiting)
		if err != nil {
			return err
		}
		d.say("%s", indent(out))
		if out, err = d.command(ctx, "plans", "confirm", checkout.Waiting); err != nil {
			return err
		}
		d.say("   %s", strings.TrimSpace(out))
	}
	if _, err := d.deployed(ctx, commit); err != nil {
		return err
	}
	names, _, err := d.manifests()
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.Contains(n, "redis") {
			return fmt.Errorf("%s is still there", n)
		}
	}
	d.say("   checkout is deployed as generation 3; the cache's %s are gone", "Secret, Service and StatefulSet")
	return nil
}

func verifyReverted(ctx context.Context, d *demo, commit string) error {
	apps, err := d.deployed(ctx, commit)
	if err != nil {
		return err
	}
	if apps["checkout"].Applied != 4 {
		return fmt.Errorf("generation 4 was expected, got %d", apps["checkout"].Applied)
	}
	if same, err := d.same("changed"); !same {
		return fmt.Errorf("the target is not what it was: %w", errors.Join(err, errors.New("its files differ")))
	}
	d.say("   checkout is deployed as generation 4, and every manifest is what it was as generation 2")
	return nil
}

func indent(text string) string {
	return "     " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n     ")
}
