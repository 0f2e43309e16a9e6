package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/server"
)

// api asks the server.
type api struct {
	base, token string
	http        *http.Client
}

func (a api) ready(ctx context.Context) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/readyz", nil)
	if err != nil {
		return false, err
	}
	response, err := a.http.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK, fmt.Errorf("readiness: %s", response.Status)
}

func (a api) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := a.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		p := &server.Problem{}
		if err := json.NewDecoder(response.Body).Decode(p); err != nil {
			return fmt.Errorf("%s %s: %s", method, path, response.Status)
		}
		return p
	}
	return json.NewDecoder(response.Body).Decode(out)
}

func (a api) applications(ctx context.Context) (out map[string]server.Application, err error) {
	var list []server.Application
	err = a.call(ctx, http.MethodGet, "/applications?environment="+environment, nil, &list)
	out = map[string]server.Application{}
	for _, app := range list {
		out[app.Name] = app
	}
	return out, err
}

// link returns an address that logs a browser in and leads to a page.
func (a api) link(ctx context.Context, to string) (string, error) {
	var link server.LoginLink
	if err := a.call(ctx, http.MethodPost, "/login-links", struct{}{}, &link); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/login?link=%s&to=%s", a.base, link.Value, url.QueryEscape(to)), nil
}

// login makes a token with the command that a person would use, or takes the one of an earlier start.
func (d *demo) login(ctx context.Context) error {
	text, err := os.ReadFile(d.path("token"))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = exec.CommandContext(ctx, d.Binary, "token", "create", "demo", "--config", d.path("reconciler.yaml")).Output()
		if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
			return fmt.Errorf("make a token: %w: %s", err, failed.Stderr)
		}
		if err == nil {
			err = os.WriteFile(d.path("token"), text, 0o600)
		}
	}
	if err != nil {
		return err
	}
	d.api.token = strings.TrimSpace(string(text))
	// What a shell needs to go on by hand.
	env := fmt.Sprintf("export RECONCILER_SERVER=%s RECONCILER_TOKEN=%s DEMO_REPOSITORY=http://%s/%s.git DEMO_TARGET=%s\n",
		d.api.base, d.api.token, d.state.Git, repository, d.target())
	return os.WriteFile(d.path("env"), []byte(env), 0o600)
}

func (d *demo) newestPlan(ctx context.Context) (string, error) {
	var plans []server.Plan
	if err := d.api.call(ctx, http.MethodGet, "/plans?limit=1", nil, &plans); err != nil {
		return "", err
	}
	if len(plans) == 0 {
		return "", fault.New(fault.DemoFailed, "no plan was made")
	}
	return plans[0].ID, nil
}

// command runs the reconciler's CLI against the server and returns what it prints. An exit code of 1 is an answer.
func (d *demo) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.Binary, args...)
	cmd.Env = append(os.Environ(), "RECONCILER_SERVER="+d.api.base, "RECONCILER_TOKEN="+d.api.token)
	out, err := cmd.CombinedOutput()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) && failed.ExitCode() == 1 {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("reconciler %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
