package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// errAnswer: the remote answers what is not its protocol.
var errAnswer = errors.New("unexpected answer")

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
	// maxRetryAfter caps what a server may ask us to wait: an hour, so that a wrong header does not stop a repository.
	maxRetryAfter = time.Hour
)

// request is one HTTP exchange of the smart protocol.
type request struct {
	auth    Auth
	service string
	// base is the repository's address; body is nil for the advertisement.
	base    *url.URL
	body    io.Reader
	length  int64
	version int
}

// do sends a request and returns the answer's body, and the address that redirects led to.
func (c *Client) do(ctx context.Context, r request) (io.ReadCloser, *url.URL, error) {
	method, address, want := http.MethodGet, r.base.String()+"/info/refs?service="+r.service, "advertisement"
	if r.body != nil {
		method, address, want = http.MethodPost, r.base.String()+"/"+r.service, "result"
	}
	req, err := http.NewRequestWithContext(ctx, method, address, r.body)
	if err != nil {
		return nil, nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("User-Agent", c.config.Agent)
	req.Header.Set("Accept", "application/x-"+r.service+"-"+want)
	if r.body != nil {
		req.ContentLength = r.length
		req.Header.Set("Content-Type", "application/x-"+r.service+"-request")
	}
	if r.version > 0 {
		req.Header.Set("Git-Protocol", "version="+strconv.Itoa(r.version))
	}
	if r.auth != (Auth{}) {
		req.SetBasicAuth(r.auth.Username, r.auth.Password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the address is said by whoever knows it without credentials
		}
		return nil, nil, explain(ctx, err)
	}
	if err := checkResponse(resp, "application/x-"+r.service+"-"+want); err != nil {
		resp.Body.Close()
		return nil, nil, err
	}
	return resp.Body, resp.Request.URL, nil
}

// checkResponse classifies what a server answered.
func checkResponse(resp *http.Response, want string) error {
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		if got, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); got != want {
			return fault.New(fault.GitProtocol, "the remote answers %.60q and not %s", plain(got), want)
		}
		return nil
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusProxyAuthRequired:
		if wait := retryAfter(resp); wait > 0 {
			return fault.New(fault.GitBusy, "the remote answers %d and asks to wait %s", code, wait).RetryAfter(wait)
		}
		return fault.New(fault.GitUnauthorized, "the remote answers %d %s", code, http.StatusText(code))
	case code == http.StatusNotFound || code == http.StatusGone:
		return fault.New(fault.GitNotFound, "the remote answers %d %s", code, http.StatusText(code))
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		wait := retryAfter(resp)
		return fault.New(fault.GitBusy, "the remote answers %d %s", code, http.StatusText(code)).RetryAfter(wait)
	case code >= 500 || code == http.StatusRequestTimeout:
		return fault.New(fault.GitUnreachable, "the remote answers %d %s", code, http.StatusText(code))
	default:
		return fault.New(fault.GitProtocol, "the remote answers %d %s", code, http.StatusText(code))
	}
}

// retryAfter reads how long the server wants us to wait; 0 if it does not say.
func retryAfter(resp *http.Response) time.Duration {
	text := resp.Header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(text); err == nil {
		wait = time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		// The server's own clock, so that ours may be wrong.
		now, err := http.ParseTime(resp.Header.Get("Date"))
		if err == nil {
			wait = at.Sub(now)
		}
	}
	return min(max(wait, 0), maxRetryAfter)
}

// post sends a request that is built in memory to the upload-pack of a remote.
func (c *Client) post(ctx context.Context, r Remote, a advertisement, w *pktWriter) (io.ReadCloser, error) {
	_, auth, err := r.endpoint()
	if err != nil {
		return nil, err
	}
	body, _, err := c.do(ctx, request{auth: auth, service: uploadPack, base: a.base, body: &w.Buffer, length: int64(w.Len()), version: a.version})
	if f, ok := fault.As(err); ok && (f.Code == fault.GitProtocol || f.Code == fault.GitNotFound) {
		c.forget(r) // the server may have moved or changed since it told us what it can do
	}
	return body, err
}
