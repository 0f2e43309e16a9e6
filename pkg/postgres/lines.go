package postgres

import (
	"bytes"
	"strings"
	"sync"
)

const (
	// keptLines is how much of the server's log is quoted when it does not start.
	keptLines = 10
	// lineLimit cuts lines so that a log without newlines cannot fill the memory, in bytes.
	lineLimit = 4096
)

// lines takes what a process writes, hands it on line by line and keeps the last ones.
type lines struct {
	log  func(string)
	mu   sync.Mutex
	part []byte
	kept []string
}

// Write implements io.Writer. It never fails.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, p...)
	for {
		line, rest, found := bytes.Cut(l.part, []byte("\n"))
		if !found && len(l.part) < lineLimit {
			return len(p), nil
		}
		l.keep(string(line[:min(len(line), lineLimit)]))
		l.part = rest
	}
}

func (l *lines) keep(line string) {
	l.kept = append(l.kept, line)
	if len(l.kept) > keptLines {
		l.kept = l.kept[1:]
	}
	if l.log != nil {
		l.log(line)
	}
}

// last returns the last lines as one text.
func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.kept, "\n")
}
