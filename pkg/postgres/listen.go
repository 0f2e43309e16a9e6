package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

const (
	// listenPing is how long a listening connection may be silent before it is asked for a sign of life: a connection
	// whose other end is gone stays silent for ever.
	listenPing = 30 * time.Second
	// listenPingTimeout is how long the sign of life may take.
	listenPingTimeout = 5 * time.Second
	// listenRetry and listenRetryMax bound the jittered back-off between attempts to connect again.
	listenRetry    = 100 * time.Millisecond
	listenRetryMax = 15 * time.Second
)

// Notification is what a subscriber of a [Listener] is told.
type Notification struct {
	Channel string
	// Payload is the text given to pg_notify; "" when Connected is set.
	Payload string
	// Connected is set on each (re)connection: notifications sent before it may have been lost, so that the subscriber
	// has to look for itself.
	Connected bool
}

// Listener holds one connection, outside of any pool, that listens on the channels of its subscribers. It is a hint and
// no more: PostgreSQL forgets notifications on failover and for whoever is not connected, so that each subscriber also
// polls.
type Listener struct {
	conn        *pgx.ConnConfig
	log         zerolog.Logger
	channels    []string
	subscribers map[string][]func(Notification)
}

// NewListener makes a listener that connects with conn's settings (pool.Config().ConnConfig of a pool that does not lead
// through PgBouncer). conn is copied.
func NewListener(conn *pgx.ConnConfig, log zerolog.Logger) *Listener {
	return &Listener{conn: conn.Copy(), log: log, subscribers: map[string][]func(Notification){}}
}

// Subscribe adds f to those who are told of the channel's notifications. It must be called before Run. f is called from
// Run's goroutine and must not block.
func (l *Listener) Subscribe(channel string, f func(Notification)) {
	if _, known := l.subscribers[channel]; !known {
		l.channels = append(l.channels, channel)
	}
	l.subscribers[channel] = append(l.subscribers[channel], f)
}

// Run listens until ctx ends and connects again, with jittered back-off, whenever the connection is lost. It returns
// ctx's error.
func (l *Listener) Run(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(listenRetry), backoff.WithMaxInterval(listenRetryMax), backoff.WithMaxElapsedTime(0))
	for {
		err := l.listen(ctx, wait.Reset)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := wait.NextBackOff()
		l.log.Warn().Err(err).Dur("retry_in", pause).Msg("listening connection lost")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// listen serves one connection until it breaks or ctx ends.
func (l *Listener) listen(ctx context.Context, connected func()) error {
	conn, err := pgx.ConnectConfig(ctx, l.conn)
	if err != nil {
		return fmt.Errorf("connect to listen: %w", err)
	}
	// Not bound to ctx, which is over when we end in good order: the server should still get the goodbye.
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), listenPingTimeout)
		defer cancel()
		_ = conn.Close(closing)
	}()
	for _, channel := range l.channels {
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return fmt.Errorf("listen on %s: %w", channel, err)
		}
	}
	connected()
	for _, channel := range l.channels {
		l.tell(Notification{Channel: channel, Connected: true})
	}
	for {
		if err := l.next(ctx, conn); err != nil {
			return err
		}
	}
}

// next waits for one notification, or for the next sign of life of a silent connection.
func (l *Listener) next(ctx context.Context, conn *pgx.Conn) error {
	silence, cancel := context.WithTimeout(ctx, listenPing)
	defer cancel()
	n, err := conn.WaitForNotification(silence)
	if err == nil {
		l.tell(Notification{Channel: n.Channel, Payload: n.Payload})
		return nil
	}
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || conn.IsClosed() {
		return fmt.Errorf("wait for a notification: %w", err)
	}
	ping, cancelPing := context.WithTimeout(ctx, listenPingTimeout)
	defer cancelPing()
	if err := conn.Ping(ping); err != nil {
		return fmt.Errorf("ping the listening connection: %w", err)
	}
	return nil
}

func (l *Listener) tell(n Notification) {
	for _, f := range l.subscribers[n.Channel] {
		f(n)
	}
}
