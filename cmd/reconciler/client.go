package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/server"
)

// client speaks to a server's API.
type client struct {
	base  string
	token string
	http  *http.Client
}

// clientFlags are the flags of every command that speaks to a server.
type clientFlags struct {
	server, tokenFile string
}

func (f *clientFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.server, "server", "", "address of the server (default: $RECONCILER_SERVER, then http://127.0.0.1:8080)")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "file that holds the token (default: the value of $RECONCILER_TOKEN)")
}

// requestTimeout bounds one request: planning a large working copy takes the longest.
const requestTimeout = 60 * time.Second

func (f *clientFlags) client() (*client, error) {
	c := &client{base: f.server, token: os.Getenv("RECONCILER_TOKEN"), http: &http.Client{Timeout: requestTimeout}}
	if c.base == "" {
		c.base = os.Getenv("RECONCILER_SERVER")
	}
	if c.base == "" {
		c.base = "http://127.0.0.1:8080"
	}
	c.base = strings.TrimSuffix(c.base, "/")
	if u, err := url.Parse(c.base); err != nil || u.Host == "" {
		return nil, fault.New(fault.UsageInvalid, "%q is not the address of a server", c.base)
	}
	if f.tokenFile != "" {
		text, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, fault.New(fault.FileUnreadable, "%w", err)
		}
		c.token = strings.TrimSpace(string(text))
	}
	return c, nil
}

// answerLimit is the largest answer read, in bytes.
const answerLimit = 64 << 20

// call makes a request to a path below /api/v1 and reads the answer into out.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("write request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fault.New(fault.ServerAway, "no server answers at %s: %w", c.base, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return fault.New(fault.ServerAway, "the answer of %s broke off: %w", c.base, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		p := &server.Problem{}
		if json.Unmarshal(text, p) != nil || p.Code == "" {
			return fault.New(fault.ServerAway, "%s answers %s, which no reconciler does", c.base, response.Status)
		}
		return p
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read answer of %s: %w", path, err)
	}
	return nil
}

// get reads a path with query parameters; those with an empty value are left out.
func get[T any](ctx context.Context, c *client, path string, query map[string]string) (out T, err error) {
	values := url.Values{}
	for k, v := range query {
		if v != "" {
			values.Set(k, v)
		}
	}
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	return out, c.call(ctx, http.MethodGet, path, nil, &out)
}
