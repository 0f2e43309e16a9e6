package apply

import (
	"context"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
)

// Images says whether the registry of an image does not have it any more. An error means that it is not known.
type Images interface {
	Gone(ctx context.Context, image string) (bool, error)
}

// Possible says why going back to a release would not bring back what ran, or nil: an image is gone from its registry, or a
// provisioner from the platform. What is not known is no reason.
func (r *Runner) Possible(ctx context.Context, environment string, release *planner.Release) error {
	p, err := r.Platform(ctx)
	if err != nil {
		return err
	}
	e, err := p.Environment(environment)
	if err != nil {
		return err
	}
	if gone := r.imagesGone(ctx, e, release); len(gone) > 0 {
		return fault.New(fault.ImageGone, "the registry does not have %s any more", strings.Join(gone, ", "))
	}
	if gone := provisionersGone(p, release); len(gone) > 0 {
		return fault.New(fault.ProvisionerGone, "the platform does not have %s any more", strings.Join(gone, ", "))
	}
	return nil
}

func (r *Runner) imagesGone(ctx context.Context, e *platform.Environment, release *planner.Release) (gone []string) {
	if r.Images == nil {
		return nil
	}
	for _, image := range release.Images() {
		place, _, _ := platform.Image(image)
		if !platform.Matches(e.Defaults.Images.Check, place) {
			continue
		}
		is, err := r.Images.Gone(ctx, image)
		if err != nil {
			r.Log.Warn().Err(err).Str("image", image).Msg("registry not asked")
		}
		if is {
			gone = append(gone, image)
		}
	}
	return gone
}

func provisionersGone(p *platform.Platform, release *planner.Release) (gone []string) {
	for _, res := range release.Resources {
		there := slices.ContainsFunc(p.Provisioners, func(v *platform.Provisioner) bool { return v.URI == res.Provisioner })
		if !there && !slices.Contains(gone, res.Provisioner) {
			gone = append(gone, res.Provisioner)
		}
	}
	return gone
}

// check is the first step of a rollback: it says that the release cannot run before anything is touched. A provisioner that
// is gone stops nothing, for what it gave is part of the release; and neither does anything that a person confirmed.
func (e *execution) check(ctx context.Context, name string) (result, error) {
	if e.release == nil {
		return result{detail: "nothing is to run"}, nil
	}
	err := e.Possible(ctx, e.run.Environment, e.release)
	if err == nil {
		return result{detail: "the release can run"}, nil
	}
	f, ok := fault.As(err)
	if !ok {
		return result{}, err
	}
	confirmed, err := e.Planner.Confirmed(ctx, e.Pool, e.run.Plan)
	switch {
	case err != nil:
		return result{}, err
	case f.Code == fault.ProvisionerGone, f.Code == fault.ImageGone && confirmed:
		e.log(ctx, name, "%v", f)
		return result{detail: f.Message}, nil
	default:
		return result{}, f
	}
}
