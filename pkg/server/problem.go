package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Problem is an error as the API gives it: RFC 9457 with what a fault adds.
type Problem struct {
	// Type is the address of the code's page.
	Type   string     `json:"type" format:"uri"`
	Title  string     `json:"title"`
	Status int        `json:"status"`
	Detail string     `json:"detail"`
	Code   fault.Code `json:"code"`
	Remedy string     `json:"remedy,omitempty"`
	// Faults are all that were found, with places, where there are several.
	Faults fault.List `json:"faults,omitempty"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail + " [" + string(p.Code) + "]" }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// statuses are the HTTP statuses of codes that do not follow from their class.
var statuses = map[fault.Code]int{
	fault.Unauthenticated: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden, fault.NotFound: http.StatusNotFound,
	fault.AppUnknown: http.StatusNotFound, fault.PlanUnknown: http.StatusNotFound, fault.ReleaseUnknown: http.StatusNotFound,
	fault.RunUnknown: http.StatusNotFound, fault.RepositoryUnknown: http.StatusNotFound, fault.EnvironmentUnknown: http.StatusNotFound,
	fault.JobNotFound: http.StatusNotFound, fault.PlanNotWaiting: http.StatusConflict, fault.NothingToUndo: http.StatusConflict,
	fault.ApprovalNotYours: http.StatusForbidden, fault.MethodUnknown: http.StatusMethodNotAllowed, fault.RequestTooLarge: http.StatusRequestEntityTooLarge, fault.Internal: http.StatusInternalServerError,
}

// classStatuses are the HTTP statuses of all other codes.
var classStatuses = map[fault.Class]int{
	fault.Permanent: http.StatusUnprocessableEntity, fault.Retryable: http.StatusServiceUnavailable,
	fault.Conflict: http.StatusConflict, fault.Refused: http.StatusConflict,
}

func statusOf(code fault.Code) int {
	if s, ok := statuses[code]; ok {
		return s
	}
	return classStatuses[code.Entry().Class]
}

// problem turns an error into what the API answers.
func problem(ctx context.Context, err error) *Problem {
	faults := slices.Clone(fault.Of(err))
	for i, f := range faults {
		if f.Code == fault.Internal {
			faults[i] = hidden(ctx)
		}
	}
	f := faults[0]
	p := &Problem{
		Type: f.Code.Link(), Title: f.Code.Entry().Title, Status: statusOf(f.Code), Detail: f.Message, Code: f.Code, Remedy: f.Advice(),
	}
	if len(faults) > 1 || f.Place != (fault.Place{}) {
		p.Faults = faults
	}
	return p
}

// useProblems makes huma's errors problems; huma has one place for all APIs of a process.
var useProblems = sync.OnceFunc(func() { huma.NewError = humaProblem })

// humaProblem gives errors that huma finds itself (bodies and parameters that are not valid) the form of ours.
func humaProblem(status int, message string, errs ...error) huma.StatusError {
	code := fault.RequestInvalid
	switch {
	case status == http.StatusRequestEntityTooLarge:
		code = fault.RequestTooLarge
	case status >= http.StatusInternalServerError:
		code = fault.Internal
	}
	p := &Problem{Type: code.Link(), Title: code.Entry().Title, Status: status, Detail: message, Code: code, Remedy: code.Entry().Remedy}
	if code == fault.Internal || len(errs) == 0 {
		return p
	}
	for _, err := range errs {
		p.Faults = append(p.Faults, fault.New(code, "%s", reason(err)))
	}
	p.Detail = p.Faults[0].Message
	if more := len(p.Faults) - 1; more > 0 {
		p.Detail += fmt.Sprintf(", and %d more", more)
	} else {
		p.Faults = nil // the detail says it all
	}
	return p
}

// reason is what an error of huma says without the value that it is about, which may be a secret.
func reason(err error) string {
	if d, ok := errors.AsType[*huma.ErrorDetail](err); ok && d.Location != "" {
		return d.Location + ": " + d.Message
	} else if ok {
		return d.Message
	}
	return err.Error()
}

// Fail writes a fault as a problem.
func Fail(w http.ResponseWriter, r *http.Request, status int, f *fault.Fault) {
	p := problem(r.Context(), f)
	p.Status = status
	p.write(w)
}

func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if it fails
}
