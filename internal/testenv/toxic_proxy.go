package testenv

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// ToxicProxy stands between clients and a TCP server, and disturbs all connections for a time: it cuts, delays, silences or
// resets them. For the loss of single answers there is [AnswerProxy].
type ToxicProxy struct {
	// Address is where clients connect, HOST:PORT.
	Address string
	proxy   *toxiproxy.Proxy
}

// NewToxicProxy starts one in front of an address; it ends with the test.
func NewToxicProxy(t testing.TB, upstream string) *ToxicProxy {
	t.Helper()
	quiet := zerolog.Nop()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), quiet)
	p := toxiproxy.NewProxy(server, upstream, "127.0.0.1:0", upstream)
	must(t, p.Start())
	t.Cleanup(p.Stop)
	return &ToxicProxy{Address: p.Listen, proxy: p}
}

// Cut ends all connections and refuses new ones until [ToxicProxy.Mend].
func (p *ToxicProxy) Cut() { p.proxy.Stop() }

// Delay holds back all data, in both directions, by a time in milliseconds that varies by half.
func (p *ToxicProxy) Delay(milliseconds int) error {
	return p.disturb("latency", fmt.Sprintf(`{"latency": %d, "jitter": %d}`, milliseconds, milliseconds/2))
}

// Swallow lets connections live while nothing of what is sent arrives.
func (p *ToxicProxy) Swallow() error { return p.disturb("timeout", `{"timeout": 0}`) }

// Reset ends each connection as soon as data flows.
func (p *ToxicProxy) Reset() error { return p.disturb("reset_peer", `{"timeout": 0}`) }

func (p *ToxicProxy) disturb(kind, attributes string) error {
	for _, stream := range []string{"upstream", "downstream"} {
		toxic := fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": %s}`, kind, stream, attributes)
		if _, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return fmt.Errorf("%s %s: %w", kind, stream, err)
		}
	}
	return nil
}

// Mend lets everything through again.
func (p *ToxicProxy) Mend() error {
	p.proxy.Toxics.ResetToxics(context.Background())
	p.proxy.Lock()
	running := p.proxy.Enabled
	p.proxy.Unlock()
	if running {
		return nil
	}
	return p.proxy.Start()
}
