package server

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/status"
)

//go:embed pages
var pageFiles embed.FS

// cookieName is the cookie of a browser's session.
const cookieName = "reconciler_session"

// templates are the pages, each with the layout around it.
func templates() map[string]*template.Template {
	functions := template.FuncMap{
		"short": func(s string) string { return s[:min(len(s), 12)] },
		"time":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"diff":  diffLines, "words": status.Words, "objects": status.Objects, "faults": status.PlainFaults,
		"one": func(f *fault.Fault) string { return status.PlainFaults(fault.List{f}) },
	}
	names, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		panic(err) // the pattern is constant
	}
	out := map[string]*template.Template{}
	for _, name := range names {
		base := strings.TrimSuffix(strings.TrimPrefix(name, "pages/"), ".html")
		if base != "layout" {
			out[base] = template.Must(template.New("layout.html").Funcs(functions).ParseFS(pageFiles, "pages/layout.html", name))
		}
	}
	return out
}

// line is a line of a diff with its class.
type line struct{ Class, Text string }

// diffLines gives each line of a diff the class that colours it.
func diffLines(text string) []line {
	classes := map[byte]string{'+': "create", '-': "delete", '!': "update"}
	var out []line
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		class := ""
		if l != "" {
			class = classes[l[0]]
		}
		out = append(out, line{class, l})
	}
	return out
}

// pages registers the pages that people see in a browser, made of all templates.
func (s *Server) pages(mux *http.ServeMux, all map[string]*template.Template) {
	page := func(pattern, name string, data func(ctx context.Context, r *http.Request) (any, error)) {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			who, err := s.who(r)
			if err != nil {
				http.Redirect(w, r, "/login?to="+template.URLQueryEscaper(r.URL.RequestURI()), http.StatusSeeOther)
				return
			}
			err = checkText("the address", reflect.ValueOf(r.URL.Path))
			var content any
			if err == nil {
				content, err = data(context.WithValue(r.Context(), principalKey{}, who), r)
			}
			if err != nil {
				p := failure(r.Context(), err)
				s.show(w, all["problem"], p.Status, view{Title: "Problem", User: who.Name, Data: p})
				return
			}
			s.show(w, all[name], http.StatusOK, view{Title: name, User: who.Name, Data: content})
		})
	}
	page("/{$}", "applications", func(ctx context.Context, _ *http.Request) (any, error) {
		return s.listApplications(ctx, &ApplicationFilter{})
	})
	page("/applications/{environment}/{name}", "application", s.applicationPage)
	page("/plans", "plans", func(ctx context.Context, _ *http.Request) (any, error) {
		in := &planFilter{}
		in.Limit = 100
		return s.listPlans(ctx, in)
	})
	page("/plans/{id}", "plan", func(ctx context.Context, r *http.Request) (any, error) {
		return s.getPlan(ctx, &planPath{r.PathValue("id")})
	})
	page("/runs/{id}", "run", s.runPage)
	page("/revisions/{owner}/{name}/{commit}", "revision", func(ctx context.Context, r *http.Request) (any, error) {
		return s.getRevision(ctx, &revisionPath{r.PathValue("owner"), r.PathValue("name"), r.PathValue("commit")})
	})
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		http.ServeFileFS(w, r, pageFiles, "pages/style.css")
	})
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { s.loginPage(w, r, all["login"]) })
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) { s.login(w, r, all["login"]) })
	mux.HandleFunc("POST /logout", s.logout)
}

// view is what a page gets.
type view struct {
	Title string
	User  string
	Data  any
}

// show renders a page as a whole before anything is sent, so that a mistake in it is an answer of its own.
func (s *Server) show(w http.ResponseWriter, t *template.Template, code int, v view) {
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		s.Log.Error().Err(err).Str("page", v.Title).Msg("page not rendered")
		http.Error(w, "The page could not be rendered.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(out.Bytes()) // the client is gone if it fails
}

func (s *Server) applicationPage(ctx context.Context, r *http.Request) (any, error) {
	path := ApplicationPath{r.PathValue("environment"), r.PathValue("name")}
	a, err := s.getApplication(ctx, &path)
	if err != nil {
		return nil, err
	}
	in := struct {
		ApplicationPath
		Page
	}{path, Page{50}}
	releases, err := s.listReleases(ctx, &in)
	if err != nil {
		return nil, err
	}
	resources, err := s.Runs.Resources(ctx, s.Pool, path.Environment, path.Name)
	return map[string]any{"Application": a, "Releases": releases, "Resources": resources}, err
}

func (s *Server) runPage(ctx context.Context, r *http.Request) (any, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, fault.New(fault.RunUnknown, "%q is not the number of a run", r.PathValue("id"))
	}
	run, err := s.getRun(ctx, &IDPath{id})
	if err != nil {
		return nil, err
	}
	logs, err := s.Runs.Logs(ctx, s.Pool, id, 0)
	return map[string]any{"Run": run, "Logs": logs, "More": len(logs) == apply.LogPage}, err
}

// destination is where a login leads: a path of ours and nothing else.
func destination(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n") {
		return "/"
	}
	return to
}

// loginPage shows the form, or follows a login link.
func (s *Server) loginPage(w http.ResponseWriter, r *http.Request, form *template.Template) {
	to := destination(r.URL.Query().Get("to"))
	link := r.URL.Query().Get("link")
	if link == "" {
		s.show(w, form, http.StatusOK, view{Title: "Log in", Data: map[string]string{"To": to}})
		return
	}
	session, err := auth.Follow(r.Context(), s.Pool, link)
	if err != nil {
		s.show(w, form, http.StatusUnauthorized, view{Title: "Log in", Data: map[string]string{"To": to, "Problem": "This link was used already or is too old."}})
		return
	}
	s.enter(w, r, session, to)
}

// login exchanges a token for a session.
func (s *Server) login(w http.ResponseWriter, r *http.Request, form *template.Template) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	to := destination(r.FormValue("to"))
	p, err := auth.Bearer(r.Context(), s.Pool, strings.TrimSpace(r.FormValue("token")))
	session := ""
	if err == nil {
		session, err = auth.Login(r.Context(), s.Pool, p.TokenID)
	}
	if err != nil {
		text := "That is not a valid token."
		if f, ok := fault.As(err); !ok || f.Code != fault.Unauthenticated {
			text = "The token could not be checked. Try again in a moment."
		}
		s.show(w, form, http.StatusUnauthorized, view{Title: "Log in", Data: map[string]string{"To": to, "Problem": text}})
		return
	}
	s.enter(w, r, session, to)
}

func (s *Server) enter(w http.ResponseWriter, r *http.Request, session, to string) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: session, Path: "/", HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteLaxMode,
		MaxAge: int(auth.SessionLifetime.Seconds()),
	})
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie(cookieName)
	if err == nil {
		err = auth.Logout(r.Context(), s.Pool, cookie.Value)
	}
	if err != nil && !errors.Is(err, http.ErrNoCookie) {
		s.Log.Warn().Err(err).Msg("session not closed")
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
