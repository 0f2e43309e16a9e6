package gitrepo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Limits that hold unless the configuration says otherwise.
const (
	// DefaultMaxPackBytes is the most that one fetch may bring: ten times a repository of 100,000 commits of manifests,
	// and little enough that a hostile one cannot fill the disk.
	DefaultMaxPackBytes = 256 << 20
	// DefaultMaxFileBytes is the largest file that is read: a Score file has a few kilobytes, and a file that a workload
	// mounts must fit into a ConfigMap of 1 MiB anyway.
	DefaultMaxFileBytes = 1 << 20
	// DefaultTimeout bounds one exchange with the remote: a pack of the limit at 1 MB/s.
	DefaultTimeout = 5 * time.Minute
)

const (
	// connectTimeout bounds connecting and, again, the TLS handshake.
	connectTimeout = 10 * time.Second
	// answerTimeout is until the remote's first byte: a large repository is counted before it is sent.
	answerTimeout = time.Minute
	// idleTimeout keeps connections over a poll interval of a minute.
	idleTimeout = 90 * time.Second
	// maxRedirects follow each other: http to https, and a renamed repository, with reserve.
	maxRedirects = 5
	// maxRemotes is how many advertisements are remembered; beyond it all are asked for anew.
	maxRemotes = 10_000
)

// ClientConfig is what a [Client] needs; the zero value is good.
type ClientConfig struct {
	// MaxPackBytes is the most that one fetch may bring; 0 is [DefaultMaxPackBytes].
	MaxPackBytes int64
	// MaxFileBytes is the largest file that [Tree.Read] reads; 0 is [DefaultMaxFileBytes]. Larger ones are left out of
	// mirrors where the server can do that.
	MaxFileBytes int64
	// Timeout bounds one exchange with the remote; 0 is [DefaultTimeout].
	Timeout time.Duration
	// DenyPrivate refuses loopback and private networks. They are allowed by default, because Git servers inside a company
	// live there. Link-local, multicast and cloud metadata addresses are always refused.
	DenyPrivate bool
	// Proxy says through which proxy a request goes; nil is none. Addresses behind a proxy are the proxy's to refuse.
	Proxy func(*http.Request) (*url.URL, error)
	// Agent is told to remotes; "" is "git/reconciler". Some forges serve only agents that begin with git/.
	Agent string
}

// Auth is how we show who we are: HTTP basic authentication, with a token as password. The zero value is nobody.
type Auth struct{ Username, Password string }

// Remote is a repository somewhere.
type Remote struct {
	// URL is the address for cloning, http or https. Credentials in it are used if Auth is empty, and never shown.
	URL  string
	Auth Auth
}

// String returns the address without credentials.
func (r Remote) String() string {
	u, err := url.Parse(r.URL)
	if err != nil {
		return "(not a URL)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// Client talks to remotes. It is safe for concurrent use, and one serves all remotes.
type Client struct {
	config ClientConfig
	http   *http.Client

	mu sync.Mutex
	// known holds what remotes can do, so that a poll is one request.
	known map[Remote]advertisement
	// directories are those of open mirrors.
	directories map[string]*directory
}

// NewClient makes a client.
func NewClient(config ClientConfig) *Client {
	if config.MaxPackBytes == 0 {
		config.MaxPackBytes = DefaultMaxPackBytes
	}
	if config.MaxFileBytes == 0 {
		config.MaxFileBytes = DefaultMaxFileBytes
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Agent == "" {
		config.Agent = "git/reconciler"
	}
	dialer := &net.Dialer{Timeout: connectTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		return checkAddress(address, config.DenyPrivate)
	}}
	return &Client{
		config: config, known: map[Remote]advertisement{}, directories: map[string]*directory{},
		http: &http.Client{CheckRedirect: checkRedirect, Transport: &http.Transport{
			Proxy: config.Proxy, DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTimeout,
			ResponseHeaderTimeout: answerTimeout, IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: 4, ForceAttemptHTTP2: true,
		}},
	}
}

// Close closes idle connections. Mirrors stay usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// metadataAddresses answer virtual machines with credentials and are not link-local: AWS over IPv6, Alibaba, Oracle, Azure.
const metadataAddresses = "fd00:ec2::254 fd20:ce::254 100.100.100.200 192.0.0.192 168.63.129.16"

var (
	// nat64 addresses lead to the IPv4 address in their last four bytes (RFC 6052).
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
	// carrier is the shared space of providers (RFC 6598), in which clouds put networks of their customers.
	carrier = netip.MustParsePrefix("100.64.0.0/10")
)

// checkAddress refuses addresses that no Git server has. It sees what a name resolved to, so no name can trick it.
func checkAddress(address string, denyPrivate bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fault.New(fault.GitAddressRefused, "%.60q is not an address", address)
	}
	ip := at.Addr().WithZone("").Unmap()
	if nat64.Contains(ip) {
		bytes := ip.As16()
		ip = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	switch {
	case ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified():
		return fault.New(fault.GitAddressRefused, "%s is a link-local or otherwise special address", ip)
	case denyPrivate && (ip.IsLoopback() || ip.IsPrivate() || carrier.Contains(ip)):
		return fault.New(fault.GitAddressRefused, "%s is in a private network", ip)
	}
	for m := range strings.FieldsSeq(metadataAddresses) {
		if m == ip.String() {
			return fault.New(fault.GitAddressRefused, "%s is a cloud's metadata address", ip)
		}
	}
	return nil
}

// checkRedirect lets a server send us to another path, or from http to https, but to no other host.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[0].URL
	upgrade := from.Scheme == "http" && req.URL.Scheme == "https" && from.Port() == "" && req.URL.Port() == ""
	switch {
	case len(via) > maxRedirects:
		return fault.New(fault.GitAddressRefused, "the remote redirects more than %d times", maxRedirects)
	case from.Hostname() != req.URL.Hostname(),
		!upgrade && (from.Scheme != req.URL.Scheme || from.Port() != req.URL.Port()):
		return fault.New(fault.GitAddressRefused, "the remote redirects to another host: %s://%s", req.URL.Scheme, req.URL.Host)
	case req.Method != http.MethodGet:
		return http.ErrUseLastResponse
	}
	return nil
}

// endpoint parses a remote's address.
func (r Remote) endpoint() (*url.URL, Auth, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, Auth{}, fault.New(fault.GitAddressRefused, "the address of the repository is not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, Auth{}, fault.New(fault.GitAddressRefused, "the scheme of %s is not http or https", r)
	}
	auth := r.Auth
	if auth == (Auth{}) && u.User != nil {
		auth.Username = u.User.Username()
		auth.Password, _ = u.User.Password()
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, auth, nil
}

// remember, recall and forget keep what a remote advertised.
func (c *Client) remember(r Remote, a advertisement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxRemotes {
		clear(c.known)
	}
	c.known[r] = a
}

func (c *Client) recall(r Remote) (advertisement, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.known[r]
	return a, ok
}

func (c *Client) forget(r Remote) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, r)
}

// withTimeout bounds one exchange.
func (c *Client) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.config.Timeout,
		fault.New(fault.GitUnreachable, "the exchange with the remote took longer than %s", c.config.Timeout))
}

// sayLimit is the longest text of a remote in our messages, in bytes: a line or two.
const sayLimit = 300

// plain makes what a remote said harmless and short.
func plain(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > sayLimit {
		s = strings.ToValidUTF8(s[:sayLimit], "") + "…"
	}
	return fault.Plain(s)
}

// explain makes a fault of an error that came up while talking to a remote.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := fault.As(err); ok {
		return f
	}
	if cause := context.Cause(ctx); cause != nil {
		if f, ok := fault.As(cause); ok {
			return f // our own timeout
		}
		return cause
	}
	if said, ok := errors.AsType[*remoteError](err); ok {
		return fault.New(fault.GitUnreachable, "%w", said)
	}
	if errors.Is(err, errPkt) || errors.Is(err, errAnswer) {
		return fault.New(fault.GitProtocol, "%w", err)
	}
	return fault.New(fault.GitUnreachable, "%w", err)
}
