package server

import (
	"net/http"

	"github.com/innominatus/reconciler/pkg/fault"
)

// orProblem answers what no route of a mux takes by fail, where the mux itself would answer with a line of text.
func orProblem(mux *http.ServeMux, fail func(w http.ResponseWriter, r *http.Request, status int, f *fault.Fault)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		// The mux does not say why; its own answer tells a method that is wrong from a path that is, and which would be right.
		own := unsent{header: http.Header{}}
		handler.ServeHTTP(&own, r)
		if own.status == http.StatusMethodNotAllowed {
			allowed := own.header.Get("Allow")
			w.Header().Set("Allow", allowed)
			fail(w, r, own.status, fault.New(fault.MethodUnknown, "%s is not possible at %s", r.Method, r.URL.Path).Do("Possible here: %s.", allowed))
			return
		}
		fail(w, r, http.StatusNotFound, fault.New(fault.NotFound, "there is nothing at %s", r.URL.Path))
	})
}

// unsent keeps of an answer only its head.
type unsent struct {
	header http.Header
	status int
}

func (u *unsent) Header() http.Header            { return u.header }
func (u *unsent) Write(text []byte) (int, error) { return len(text), nil }
func (u *unsent) WriteHeader(status int)         { u.status = status }
