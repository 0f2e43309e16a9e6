package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// GiteaError is an answer of Gitea's API that says no.
type GiteaError struct {
	Act    string
	Status int
	Body   string
}

// Error returns the call, the status and the answer.
func (e *GiteaError) Error() string { return fmt.Sprintf("%s: HTTP %d: %s", e.Act, e.Status, e.Body) }

// call calls the API and reads the answer into out, unless that is nil.
func (g *GiteaServer) call(ctx context.Context, as Account, method, path string, in, out any) error {
	answer, err := g.ask(ctx, as, method, path, in)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return nil
}

// ask calls the API with a token, or with a password where there is no token yet, and returns the answer.
func (g *GiteaServer) ask(ctx context.Context, as Account, method, path string, in any) ([]byte, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write the body for %s: %w", path, err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, g.URL+"/api/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make a request to %s: %w", path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	if as.Token != "" {
		request.Header.Set("Authorization", "token "+as.Token)
	} else {
		request.SetBasicAuth(as.Login, as.password)
	}
	response, err := giteaServer.client.Do(request)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", path, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, &GiteaError{Act: method + " " + path, Status: response.StatusCode, Body: string(answer)}
	}
	return answer, nil
}
