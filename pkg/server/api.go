package server

import (
	"context"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
)

// body is an answer with a body.
type body[T any] struct{ Body T }

// operation registers one operation of the API: method and path ("GET /runs/{id}"), the scope that it needs, what it
// does, and the function that does it. more changes what is the same for most operations.
func operation[I, O any](api huma.API, route string, scope auth.Scope, summary string, do func(context.Context, *I) (O, error), more ...func(*huma.Operation)) {
	method, path, _ := strings.Cut(route, " ")
	op := huma.Operation{
		OperationID: operationID(method, path), Method: method, Path: "/api/v1" + path, Summary: summary,
		Description: "Needs the scope " + string(scope) + ".", Tags: []string{strings.Split(path, "/")[1]},
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}
	if method == http.MethodPost {
		op.DefaultStatus = http.StatusOK
	}
	for _, change := range more {
		change(&op)
	}
	op.Middlewares = huma.Middlewares{only(scope)}
	huma.Register(api, op, func(ctx context.Context, in *I) (*body[O], error) {
		if err := checkText("", reflect.ValueOf(in)); err != nil {
			return nil, failure(ctx, err)
		}
		out, err := do(ctx, in)
		if err != nil {
			return nil, failure(ctx, err)
		}
		return &body[O]{out}, nil
	})
}

// only lets those through who have a scope, before anything is read of what they ask for.
func only(scope auth.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if p := principal(ctx.Context()); !p.May(scope) {
			r, w := humago.Unwrap(ctx)
			Fail(w, r, http.StatusForbidden, fault.New(fault.Forbidden, "token %q lacks the scope %s", p.Name, scope))
			return
		}
		next(ctx)
	}
}

// operationID is the method and the words of the path, for example get-runs-id.
func operationID(method, path string) string {
	words := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '{' || r == '}' || r == '.' })
	return strings.ToLower(method) + "-" + strings.Join(words, "-")
}

// Empty is an answer that says nothing but that it worked.
type Empty struct {
	OK bool `json:"ok"`
}

var done = Empty{OK: true}

// Page bounds lists.
type Page struct {
	Limit int `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many at most."`
}

func (s *Server) api(api huma.API) {
	s.applicationsAPI(api)
	s.plansAPI(api)
	s.runsAPI(api)
	s.queueAPI(api)
	s.sourcesAPI(api)
	s.adminAPI(api)
}
