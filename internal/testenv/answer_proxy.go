package testenv

import (
	"net"
	"sync"
	"testing"
)

// AnswerProxy leads TCP connections to a server and may lose its answers, once on each connection that is open. A
// [ToxicProxy] cannot: what it does to answers it does to all, those to new connections as well, until somebody ends it.
type AnswerProxy struct {
	listener net.Listener
	target   string
	all      sync.WaitGroup

	mu    sync.Mutex
	conns map[*proxied]bool
}

// proxied is a connection and its other half.
type proxied struct {
	client, server net.Conn
	lose           chan struct{} // Closed when the next answer is to be lost.
	once           sync.Once
}

// NewAnswerProxy starts a proxy to HOST:PORT that ends with the test.
func NewAnswerProxy(t testing.TB, target string) *AnswerProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &AnswerProxy{listener: listener, target: target, conns: map[*proxied]bool{}}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.close()
		}
		p.mu.Unlock()
		p.all.Wait()
	})
	return p
}

// Address returns the proxy's host and port.
func (p *AnswerProxy) Address() string { return p.listener.Addr().String() }

func (p *AnswerProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // Closed: the test has ended.
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &proxied{client: client, server: server, lose: make(chan struct{})}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		p.all.Go(func() { c.copy(c.server, c.client, nil) })
		p.all.Go(func() {
			c.copy(c.client, c.server, c.lose)
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		})
	}
}

// copy copies until one side ends or, once lose is closed, something comes, which is dropped.
func (c *proxied) copy(to, from net.Conn, lose <-chan struct{}) {
	defer c.close()
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-lose:
			return
		default:
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (c *proxied) close() {
	_ = c.client.Close()
	_ = c.server.Close()
}

// LoseAnswers cuts each connection that is open when the server answers next: it has done what it was asked for, and who
// asked does not know.
func (p *AnswerProxy) LoseAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.once.Do(func() { close(c.lose) })
	}
}
