package gitserver

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
)

// Options say what a server does differently from what git does by itself; the zero value is an open, modern server.
type Options struct {
	// Version0 makes the server speak the oldest version of the protocol only.
	Version0 bool
	// NoFilter makes new repositories refuse partial fetches.
	NoFilter bool
	// Username and Password are asked for if one is set.
	Username, Password string
	// Before sees each request first, and answers it itself if it returns true. It is how failures come about.
	Before func(w http.ResponseWriter, r *http.Request) (answered bool)
	// Messages takes what git says about failures; nil drops it.
	Messages io.Writer
}

// Server is a folder of repositories, as an [http.Handler]. The path of a repository's URL is its name.
type Server struct {
	root    string
	git     string
	options Options
	backend *cgi.Handler
}

// New serves the repositories of a folder, which must exist. The git command is looked for in PATH.
func New(root string, o Options) (*Server, error) {
	if o.Messages == nil {
		o.Messages = io.Discard
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("serve repositories: %w", err)
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("serve repositories: %w", err)
	}
	s := &Server{root: root, git: git, options: o}
	s.backend = &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Dir: root, Stderr: o.Messages,
		Env: append(s.environment(), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1"),
	}
	return s, nil
}

// environment keeps the configuration of whoever runs this out.
func (s *Server) environment() []string {
	return []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "HOME=" + s.root, "LC_ALL=C", "TZ=UTC"}
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.options.Before != nil && s.options.Before(w, r) {
		return
	}
	if s.options.Username != "" || s.options.Password != "" {
		user, password, _ := r.BasicAuth()
		if user != s.options.Username || password != s.options.Password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
	}
	backend := *s.backend
	if s.options.Version0 {
		r.Header.Del("Git-Protocol")
	} else if v := r.Header.Get("Git-Protocol"); v != "" {
		backend.Env = append(backend.Env[:len(backend.Env):len(backend.Env)], "GIT_PROTOCOL="+v)
	}
	backend.ServeHTTP(w, r)
}
