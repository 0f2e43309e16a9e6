package server

import (
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
)

// Run is a run with its steps, and what people said to those that ask.
type Run struct {
	apply.Run
	Steps     []apply.Step     `json:"steps"`
	Approvals []apply.Approval `json:"approvals,omitempty"`
	Artefacts []apply.Artefact `json:"artefacts,omitempty"`
}

// ApprovalRequest is what somebody says to a step that asks.
type ApprovalRequest struct {
	Step   string `json:"step,omitempty" maxLength:"500" doc:"The step; not needed if only one asks."`
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

type approvalInput struct {
	IDPath
	Body ApprovalRequest
}

type artefactInput struct {
	IDPath
	Step string `query:"step" required:"true"`
	Name string `query:"name" required:"true"`
}

// Artefact is something that a step left.
type Artefact struct {
	MediaType string `json:"mediaType"`
	Content   string `json:"content"`
}

// IDPath names something by its number.
type IDPath struct {
	ID int64 `path:"id"`
}

type runFilter struct {
	ApplicationFilter
	Page
	Name   string `query:"application"`
	Commit string `query:"commit"`
}

type logInput struct {
	IDPath
	After int64 `query:"after" doc:"Lines after the one with this id."`
}

type jobFilter struct {
	Page
	Kind   string `query:"kind"`
	Key    string `query:"key"`
	State  string `query:"state" enum:"blocked,ready,running,done,dead,superseded,cancelled,live"`
	Before int64  `query:"before"`
}

// Retried is the job that was made anew.
type Retried struct {
	ID int64 `json:"id"`
}

func (s *Server) runsAPI(api huma.API) {
	operation(api, "GET /runs", auth.Read, "Runs, the newest first", func(ctx context.Context, in *runFilter) ([]apply.Run, error) {
		list, err := s.Runs.Runs(ctx, s.Pool, apply.RunFilter{Environment: in.Environment, Name: in.Name, Repository: in.Repository, Commit: in.Commit}, in.Limit)
		return orEmpty(list), err
	})
	operation(api, "GET /runs/{id}", auth.Read, "One run with its steps", s.getRun)
	operation(api, "GET /runs/{id}/logs", auth.Read, "Up to 1,000 lines of a run's log", func(ctx context.Context, in *logInput) ([]apply.LogLine, error) {
		list, err := s.Runs.Logs(ctx, s.Pool, in.ID, in.After)
		return orEmpty(list), err
	})
	s.stream(api)
	operation(api, "GET /runs/{id}/artefact", auth.Read, "Something that a step of a run left", func(ctx context.Context, in *artefactInput) (Artefact, error) {
		kind, content, err := s.Runs.Artefact(ctx, s.Pool, in.ID, in.Step, in.Name)
		return Artefact{kind, strings.ToValidUTF8(string(content), "�")}, err
	})
	operation(api, "POST /runs/{id}/approve", auth.Deploy, "Approve a step that asks", func(ctx context.Context, in *approvalInput) (Empty, error) {
		return done, s.decide(ctx, in, true)
	})
	operation(api, "POST /runs/{id}/reject", auth.Deploy, "Reject a step that asks: the run fails", func(ctx context.Context, in *approvalInput) (Empty, error) {
		return done, s.decide(ctx, in, false)
	})
	operation(api, "POST /runs/{id}/pause", auth.Deploy, "Begin no further step of a run until it is resumed", func(ctx context.Context, in *IDPath) (Empty, error) {
		return done, s.Reconciler.Runner.Pause(ctx, in.ID, principal(ctx).Name)
	})
	operation(api, "POST /runs/{id}/resume", auth.Deploy, "Let a paused run go on", func(ctx context.Context, in *IDPath) (Empty, error) {
		return done, s.Reconciler.Runner.Resume(ctx, in.ID)
	})
	operation(api, "POST /runs/{id}/cancel", auth.Deploy, "Stop a run at its next safe point", s.cancelRun)
	operation(api, "GET /jobs", auth.Read, "Jobs of the queue, the newest first", s.listJobs)
	operation(api, "GET /jobs/{id}", auth.Read, "One job with its failures", func(ctx context.Context, in *IDPath) (queue.Entry, error) {
		return s.Queue.Get(ctx, in.ID)
	})
	operation(api, "POST /jobs/{id}/cancel", auth.Deploy, "Cancel a job", func(ctx context.Context, in *IDPath) (Empty, error) {
		return done, s.Queue.Cancel(ctx, in.ID, "cancelled by "+principal(ctx).Name)
	})
	operation(api, "POST /jobs/{id}/retry", auth.Deploy, "Try a dead job again as a new one", func(ctx context.Context, in *IDPath) (Retried, error) {
		id, err := s.Queue.Retry(ctx, in.ID)
		return Retried{id}, err
	})
	operation(api, "GET /resources", auth.Read, "Resources that are provisioned", func(ctx context.Context, in *struct {
		Environment string `query:"environment"`
		Application string `query:"application"`
	}) ([]apply.Resource, error) {
		list, err := s.Runs.Resources(ctx, s.Pool, in.Environment, in.Application)
		return orEmpty(list), err
	})
}

func (s *Server) getRun(ctx context.Context, in *IDPath) (Run, error) {
	r, err := s.Runs.Run(ctx, s.Pool, in.ID)
	if err != nil {
		return Run{}, err
	}
	out := Run{Run: r}
	steps, err := s.Runs.Steps(ctx, s.Pool, in.ID)
	if out.Steps = orEmpty(steps); err != nil {
		return out, err
	}
	if out.Approvals, err = s.Runs.Approvals(ctx, s.Pool, in.ID); err != nil {
		return out, err
	}
	out.Artefacts, err = s.Runs.Artefacts(ctx, s.Pool, in.ID)
	return out, err
}

func (s *Server) decide(ctx context.Context, in *approvalInput, yes bool) error {
	return s.Reconciler.Runner.Decide(ctx, in.ID, apply.Approval{Step: in.Body.Step, Who: principal(ctx).Name, Approved: yes, Reason: in.Body.Reason})
}

// cancelRun cancels the job that executes a run.
func (s *Server) cancelRun(ctx context.Context, in *IDPath) (Empty, error) {
	r, err := s.Runs.Run(ctx, s.Pool, in.ID)
	if err != nil {
		return Empty{}, err
	}
	job, err := s.Runs.JobOf(ctx, s.Queue, r)
	if err != nil {
		return Empty{}, err
	}
	return done, s.Queue.Cancel(ctx, job, "cancelled by "+principal(ctx).Name)
}

func (s *Server) listJobs(ctx context.Context, in *jobFilter) ([]queue.Entry, error) {
	f := queue.Filter{Kind: in.Kind, Key: in.Key, Limit: in.Limit, Before: in.Before}
	switch {
	case in.State == "live":
		f.States = []queue.State{queue.Blocked, queue.Ready, queue.Running}
	case in.State != "":
		state, ok := queue.ParseState(in.State)
		if !ok {
			return nil, fault.New(fault.RequestInvalid, "there is no state %q", in.State)
		}
		f.States = []queue.State{state}
	}
	list, err := s.Queue.List(ctx, f)
	return orEmpty(list), err
}

// orEmpty makes JSON lists of nothing [] and not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
