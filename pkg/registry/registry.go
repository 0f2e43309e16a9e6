// Package registry asks container registries whether they have an image. It moves no content.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// timeout bounds one question: a registry that does not answer must not keep a rollback waiting.
const timeout = 5 * time.Second

// Client asks registries. The zero value works; credentials are those of the user's Docker configuration.
type Client struct {
	// Transport is how they are reached; nil means the library's own.
	Transport http.RoundTripper
}

// Gone says that the registry of an image says that it does not have it. An error means that it is not known: the registry
// cannot be reached, or shows it only to others.
func (c *Client) Gone(ctx context.Context, image string) (bool, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return false, fmt.Errorf("read image name: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithUserAgent("reconciler"),
	}
	if c.Transport != nil {
		options = append(options, remote.WithTransport(c.Transport))
	}
	_, err = remote.Head(ref, options...)
	if refused, ok := errors.AsType[*transport.Error](err); ok && refused.StatusCode == http.StatusNotFound {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for image %s: %w", image, err)
	}
	return false, nil
}
