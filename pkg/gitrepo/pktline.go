package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The special packets of the protocol. https://git-scm.com/docs/gitprotocol-common, gitprotocol-v2
type pktKind uint8

const (
	pktData pktKind = iota
	pktFlush
	pktDelim
	pktEnd
)

// pktLimit is the longest packet with its length, in bytes, as the protocol says.
const pktLimit = 65520

var errPkt = errors.New("not a Git packet line")

// pktReader reads packets; the returned bytes are valid until the next one.
type pktReader struct {
	r   io.Reader
	buf [pktLimit]byte
}

func newPktReader(r io.Reader) *pktReader { return &pktReader{r: r} }

// next returns the next packet. The end of the stream between packets is io.EOF, within one io.ErrUnexpectedEOF.
func (p *pktReader) next() (pktKind, []byte, error) {
	head := p.buf[:4]
	if _, err := io.ReadFull(p.r, head); err != nil {
		return 0, nil, err
	}
	n, err := strconv.ParseUint(string(head), 16, 16)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: length %.8q", errPkt, head)
	}
	switch {
	case n < 3:
		return pktKind(n + 1), nil, nil
	case n < 4 || n > pktLimit:
		return 0, nil, fmt.Errorf("%w: length %d", errPkt, n)
	}
	body := p.buf[4:n]
	if _, err := io.ReadFull(p.r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return pktData, body, nil
}

// line returns the next packet as text without its newline; ok is false at a special packet.
func (p *pktReader) line() (text string, ok bool, err error) {
	k, body, err := p.next()
	if err != nil || k != pktData {
		return "", false, err
	}
	text = string(bytes.TrimSuffix(body, []byte("\n")))
	if said, isError := bytes.CutPrefix(body, []byte("ERR ")); isError {
		return "", false, &remoteError{said: plain(string(said))}
	}
	return text, true, nil
}

// remoteError is what the remote says instead of an answer.
type remoteError struct{ said string }

func (e *remoteError) Error() string { return fmt.Sprintf("the remote says: %s", e.said) }

// pktWriter builds a request.
type pktWriter struct{ bytes.Buffer }

func (w *pktWriter) linef(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(&w.Buffer, "%04x%s", len(text)+4, text)
}

func (w *pktWriter) flush() { w.WriteString("0000") }
func (w *pktWriter) delim() { w.WriteString("0001") }

// sideband reads the stream in band 1 of packets: band 2 is progress, band 3 is an error that ends it.
type sideband struct {
	pkts *pktReader
	rest []byte
	// said keeps the end of what the remote told people in band 2.
	said bytes.Buffer
	done bool
}

// saidLimit is how much of the remote's messages is kept, in bytes: enough for what a hook says.
const saidLimit = 2048

func (s *sideband) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.done {
			return 0, io.EOF
		}
		k, body, err := s.pkts.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // the stream ends with a flush
			}
			return 0, err
		}
		if err := s.take(k, body); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *sideband) take(k pktKind, body []byte) error {
	switch {
	case k != pktData:
		s.done = true
	case len(body) == 0:
		return fmt.Errorf("%w: empty band", errPkt)
	case body[0] == 1:
		s.rest = body[1:]
	case body[0] == 2:
		if room := saidLimit - s.said.Len(); room > 0 {
			s.said.Write(body[1:min(len(body), room+1)])
		}
	case body[0] == 3:
		return &remoteError{said: plain(string(body[1:]))}
	case bytes.HasPrefix(body, []byte("ERR ")):
		return &remoteError{said: plain(string(body[4:]))}
	default:
		return fmt.Errorf("%w: band %d", errPkt, body[0])
	}
	return nil
}
