package testenv

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PgBouncer starts a pooler in transaction mode before the server and returns the URL that leads through it.
func PgBouncer(t testing.TB, s *Server) string {
	t.Helper()
	dir, address := serverDirectory(t), FreeAddress(t)
	serverHost, serverPort, err := net.SplitHostPort(s.Address())
	must(t, err)
	host, port, err := net.SplitHostPort(address)
	must(t, err)
	users := filepath.Join(dir, "users")
	settings := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 8
max_client_conn = 200
`, serverHost, serverPort, host, port, users)
	config := filepath.Join(dir, "pgbouncer.ini")
	for path, text := range map[string]string{users: `"reconciler" ""` + "\n", config: settings} {
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	bouncer, err := StartProcess(dress(exec.Command(Tool(t, "usr/sbin/pgbouncer"), config), dir, serverUser(t)))
	must(t, err)
	t.Cleanup(func() { must(t, bouncer.endGroup(syscall.SIGQUIT)) })
	u, err := url.Parse(s.URL())
	must(t, err)
	u.Host = address
	client, err := pgx.ParseConfig(u.String())
	must(t, err)
	client.DefaultQueryExecMode = pgx.QueryExecModeExec
	Until(t, "PgBouncer to answer", func() bool {
		conn, err := pgx.ConnectConfig(t.Context(), client)
		return err == nil && conn.Close(t.Context()) == nil
	}, func() string { return "it does not" })
	return u.String()
}
