package testenv

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Wire stands between a client and a TCP server, and can disturb what goes through it.
type Wire struct {
	// Address is where clients connect, HOST:PORT.
	Address string
	proxy   *toxiproxy.Proxy
}

// NewWire starts one in front of an address; it ends with the test.
func NewWire(t testing.TB, upstream string) *Wire {
	t.Helper()
	quiet := zerolog.Nop()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), quiet)
	p := toxiproxy.NewProxy(server, upstream, "127.0.0.1:0", upstream)
	must(t, p.Start())
	t.Cleanup(p.Stop)
	return &Wire{Address: p.Listen, proxy: p}
}

// Cut ends all connections and refuses new ones until [Wire.Mend].
func (w *Wire) Cut() { w.proxy.Stop() }

// Delay holds back all data, in both directions, by a time in milliseconds that varies by half.
func (w *Wire) Delay(milliseconds int) error {
	return w.disturb("latency", fmt.Sprintf(`{"latency": %d, "jitter": %d}`, milliseconds, milliseconds/2))
}

// Swallow lets connections live while nothing of what is sent arrives.
func (w *Wire) Swallow() error { return w.disturb("timeout", `{"timeout": 0}`) }

// Reset ends each connection as soon as data flows.
func (w *Wire) Reset() error { return w.disturb("reset_peer", `{"timeout": 0}`) }

func (w *Wire) disturb(kind, attributes string) error {
	for _, stream := range []string{"upstream", "downstream"} {
		toxic := fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": %s}`, kind, stream, attributes)
		if _, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return fmt.Errorf("%s %s: %w", kind, stream, err)
		}
	}
	return nil
}

// Mend lets everything through again.
func (w *Wire) Mend() error {
	w.proxy.Toxics.ResetToxics(context.Background())
	w.proxy.Lock()
	running := w.proxy.Enabled
	w.proxy.Unlock()
	if running {
		return nil
	}
	return w.proxy.Start()
}
