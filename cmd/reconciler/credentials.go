package main

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo"
)

// onForge refuses a forge that is not configured, and an address that is not on it: whoever may name a repository must not
// be able to have the forge's credentials sent to a host of his own.
func (c *config) onForge(name, address string) error {
	if name == "" {
		return nil
	}
	f, known := c.Forges[name]
	if !known {
		return c.unknownForge(name)
	}
	if at := origin(address); f.URL != "" && at != origin(f.URL) {
		return fault.New(fault.ForgeForeign, "%s is not on the forge %s, which is at %s", cmp.Or(at, "the address"), name, origin(f.URL))
	}
	return nil
}

func (c *config) unknownForge(name string) *fault.Fault {
	return fault.New(fault.ForgeUnknown, "there is no forge %q in the configuration", name).Suggest(fault.Nearest(name, slices.Sorted(maps.Keys(c.Forges))))
}

// origin returns scheme, host and port of a URL in the one form that can be compared, or "" if it is none.
func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return u.Scheme + "://" + host + ":" + port
}

// remote gives an address the credentials of its forge; what is not on the forge gets none.
func (c *config) remote(address, name string) gitrepo.Remote {
	remote, f := gitrepo.Remote{URL: address}, c.Forges[name]
	if f.Token.value != "" && f.URL != "" && c.onForge(name, address) == nil {
		remote.Auth = gitrepo.Auth{Username: cmp.Or(f.Username, "reconciler"), Password: f.Token.value}
	}
	return remote
}

// forgeTarget refuses deliveries to repositories that are not on the forge that their environment names, before anything
// is sent.
type forgeTarget struct {
	apply.Target
	cfg *config
}

// Deliver implements [apply.Target].
func (t forgeTarget) Deliver(ctx context.Context, d apply.Delivery) (apply.Delivered, error) {
	settings := d.Environment.Target.GitOps
	if err := t.cfg.onForge(settings.Forge, settings.Repository); err != nil {
		return apply.Delivered{}, err
	}
	return t.Target.Deliver(ctx, d)
}
