package testenv

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PgBouncer starts a pooler in transaction mode before the server and returns the URL that leads through it.
func PgBouncer(t testing.TB, s *Server) string {
	t.Helper()
	dir, port := serverDirectory(t), freePort(t)
	users := filepath.Join(dir, "users")
	settings := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 8
max_client_conn = 200
`, s.port, port, users)
	config := filepath.Join(dir, "pgbouncer.ini")
	for path, text := range map[string]string{users: `"reconciler" ""` + "\n", config: settings} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bouncer := &Server{t: t, dir: dir, port: port}
	bouncer.start(bouncer.command(Tool(t, "usr/sbin/pgbouncer"), config))
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Host = bouncer.Address()
	client, err := pgx.ParseConfig(u.String())
	if err != nil {
		t.Fatal(err)
	}
	client.DefaultQueryExecMode = pgx.QueryExecModeExec
	Until(t, "PgBouncer to answer", func() bool {
		conn, err := pgx.ConnectConfig(t.Context(), client)
		return err == nil && conn.Close(t.Context()) == nil
	}, func() string { return "it does not" })
	return u.String()
}
