package planner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Plan is the difference between the stored release of an application and a proposed one.
type Plan struct {
	// ID is a hash of everything that the plan depends on: the same plan, made again, has the same id.
	ID          string `json:"id"`
	Application string `json:"application"`
	Environment string `json:"environment"`
	// Base is the generation of the stored release, 0 if there is none; BaseDigest its digest.
	Base       int64  `json:"base"`
	BaseDigest string `json:"baseDigest,omitempty"`
	// Digest is the proposed release's digest, "" if the application is to be removed.
	Digest string `json:"digest,omitempty"`
	// Platform is the digest of the platform configuration.
	Platform string         `json:"platform"`
	Changes  []Change       `json:"changes,omitempty"`
	Objects  []ObjectChange `json:"objects,omitempty"`
	Summary  Summary        `json:"summary"`
	Warnings fault.List     `json:"warnings,omitempty"`
}

// Base is a stored release and its generation; the zero value is an application that was never deployed.
type Base struct {
	Generation int64
	Release    *Release
	// Left are resources beside the release's.
	Left []Left
}

// NewPlan compares a proposed release with the stored one. proposed is nil if the application is to be removed.
func NewPlan(application, environment, platform string, base Base, proposed *Release) *Plan {
	p := &Plan{
		Application: application, Environment: environment, Platform: platform, Base: base.Generation,
		Changes: countLosses(Changes(base.Release, proposed), base.Release, proposed), Objects: ObjectChanges(base.Release, proposed),
	}
	left, uids := goes(base.Left, application, proposed)
	p.Changes = append(p.Changes, left...)
	if base.Release != nil {
		p.BaseDigest = base.Release.Digest
	}
	if proposed != nil {
		p.Digest = proposed.Digest
	}
	p.Summary = summarize(p.Changes)
	p.ID = p.id(uids)
	return p
}

// Empty says that applying the plan would change nothing.
func (p *Plan) Empty() bool { return p.Digest == p.BaseDigest && len(p.Changes) == 0 }

// Removal says that the plan removes the application.
func (p *Plan) Removal() bool { return p.Digest == "" }

// idLength is the number of hexadecimal digits of a plan's id: 48 bits keep it readable, and ids are only compared
// within one application and environment.
const idLength = 12

func (p *Plan) id(left []string) string {
	text, err := json.Marshal([]any{p.Application, p.Environment, p.Base, p.BaseDigest, p.Digest, p.Platform, left})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:idLength]
}
