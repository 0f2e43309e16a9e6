package testenv

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/child"
)

const (
	// GiteaVariable names the environment variable with the path of Gitea's binary; without it, bin/gitea below the
	// root of the repository is used.
	GiteaVariable = "RECONCILER_TEST_GITEA"
	// GiteaStaticVariable names the environment variable with the directory of Gitea's templates and options; without
	// it, go list is asked for the module's directory.
	GiteaStaticVariable = "RECONCILER_TEST_GITEA_STATIC"
	// giteaStart bounds start and set-up: 2 s on an idle machine, many times that on one that builds.
	giteaStart = 2 * time.Minute
	// giteaCall bounds one call of Gitea's API: a push hook starts three processes of a 100 MB binary.
	giteaCall = time.Minute
	// giteaPattern names the working directories, so that those of killed runs are found again.
	giteaPattern = "reconciler-testgitea-*"
	// logTailSize is how much of a log is shown when a server does not start, in bytes.
	logTailSize = 4 << 10
	// giteaMissing is what to do when the binary or its files are not there.
	giteaMissing = "run `make setup`, which builds Gitea for tests"
)

// giteaServer is the one Gitea of this test binary; see server.
var giteaServer struct {
	once  sync.Once
	err   error
	gitea *GiteaServer
	count atomic.Int64

	dir     string
	lock    *os.File
	process *Process
	client  *http.Client
}

// Gitea returns the real Gitea server of this test binary, started by the first call and stopped by [Main]. Tests share
// it: each makes an organisation or repositories of its own.
func Gitea(t testing.TB) *GiteaServer {
	t.Helper()
	giteaServer.once.Do(func() { giteaServer.gitea, giteaServer.err = startGitea(t.Context()) })
	if giteaServer.err != nil {
		t.Fatalf("start Gitea for tests: %v", giteaServer.err)
	}
	return giteaServer.gitea
}

func startGitea(ctx context.Context) (*GiteaServer, error) {
	// The server outlives the test that needs it first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giteaStart)
	defer cancel()
	binary, static, err := findGitea(ctx)
	if err != nil {
		return nil, err
	}
	if err := sweep(giteaPattern); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", giteaPattern)
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	s := &giteaServer
	s.dir = dir
	if s.lock, err = os.Create(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("make the lock: %w", err)
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("take the lock: %w", err)
	}
	// Gitea's tables are in our own Postgres: for SQLite it would have to be built with a C compiler.
	database, err := giteaDatabase(ctx)
	if err != nil {
		return nil, err
	}
	address, err := launchGitea(binary, static, dir, database)
	if err != nil {
		return nil, err
	}
	s.client = &http.Client{Timeout: giteaCall, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	g := &GiteaServer{URL: "http://" + address}
	if err := g.setUp(ctx, binary, dir); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, logTail(filepath.Join(dir, "gitea.log")))
	}
	return g, nil
}

// findGitea returns the binary and the directory with templates and options, which the binary does not hold.
func findGitea(ctx context.Context) (binary, static string, err error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	if binary = os.Getenv(GiteaVariable); binary == "" {
		binary = filepath.Join(root, "bin", "gitea")
	}
	if _, err := os.Stat(binary); err != nil {
		return "", "", fmt.Errorf("%w: %s", err, giteaMissing)
	}
	if static = os.Getenv(GiteaStaticVariable); static == "" {
		list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea")
		list.Dir = filepath.Join(root, "tools", "gitea")
		out, err := list.Output()
		if err != nil {
			return "", "", fmt.Errorf("ask go for Gitea's files: %w: %s", err, giteaMissing)
		}
		static = strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(filepath.Join(static, "templates")); err != nil {
		return "", "", fmt.Errorf("look for Gitea's templates: %w: %s", err, giteaMissing)
	}
	return binary, static, nil
}

// giteaConfig is the app.ini: the least that a forge needs, nothing that looks outside, and webhooks to loopback, which
// the default refuses.
const giteaConfig = `APP_NAME = Gitea for tests
RUN_MODE = prod
WORK_PATH = %[1]s/work
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[2]s
ROOT_URL = http://127.0.0.1:%[2]s/
LOCAL_ROOT_URL = http://127.0.0.1:%[2]s/
STATIC_ROOT_PATH = %[3]s
OFFLINE_MODE = true
DISABLE_SSH = true
LFS_START_SERVER = false
[database]
DB_TYPE = postgres
HOST = %[6]s
NAME = %[7]s
USER = %[8]s
PASSWD = %[9]s
SSL_MODE = disable
[security]
INSTALL_LOCK = true
SECRET_KEY = %[4]s
INTERNAL_TOKEN = %[5]s
PASSWORD_HASH_ALGO = pbkdf2$1$4
[oauth2]
ENABLED = false
[webhook]
ALLOWED_HOST_LIST = loopback
[queue]
TYPE = channel
[indexer]
ISSUE_INDEXER_TYPE = db
[session]
PROVIDER = memory
[service]
DISABLE_REGISTRATION = true
DEFAULT_KEEP_EMAIL_PRIVATE = true
[repository]
DEFAULT_BRANCH = main
ENABLE_PUSH_CREATE_ORG = false
[repository.signing]
SIGNING_KEY = none
[cron]
ENABLED = false
[mailer]
ENABLED = false
[actions]
ENABLED = false
[packages]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
`

// launchGitea starts the server on a free port and returns its address. The port is looked for and given free again
// before Gitea takes it, because Gitea ends the process that hands it a listener (it thinks that this was its old self).
func launchGitea(binary, static, dir string, database *pgx.ConnConfig) (address string, err error) {
	address, err = freeAddress()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("read the address: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o700); err != nil {
		return "", fmt.Errorf("make the home directory: %w", err)
	}
	host := database.Host
	if strings.HasPrefix(host, "/") {
		host = "127.0.0.1" // it listens there, too, and Gitea takes no socket whose path has dots
	}
	config := fmt.Sprintf(giteaConfig, dir, port, static, rand.Text(), rand.Text(),
		net.JoinHostPort(host, strconv.Itoa(int(database.Port))), database.Database, database.User, database.Password)
	if err := os.WriteFile(filepath.Join(dir, "app.ini"), []byte(config), 0o600); err != nil {
		return "", fmt.Errorf("write app.ini: %w", err)
	}
	log, err := os.Create(filepath.Join(dir, "gitea.log"))
	if err != nil {
		return "", fmt.Errorf("make the log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	cmd := giteaCommand(binary, dir, "web")
	cmd.Stdout, cmd.Stderr = log, log
	if giteaServer.process, err = StartProcess(cmd); err != nil {
		return "", err
	}
	return address, nil
}

// giteaDatabase makes an empty database for Gitea on the server of the tests.
func giteaDatabase(ctx context.Context) (*pgx.ConnConfig, error) {
	if err := ensurePostgres(ctx); err != nil {
		return nil, fmt.Errorf("start postgres for Gitea: %w", err)
	}
	name := "gitea_" + strings.ToLower(rand.Text())
	if _, err := server.admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, fmt.Errorf("make Gitea's database: %w", err)
	}
	config := server.admin.Config().ConnConfig.Copy()
	config.Database = name
	return config, nil
}

func giteaCommand(binary, dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append([]string{"--config", filepath.Join(dir, "app.ini")}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, "home"), "USER=" + os.Getenv("USER"),
		"LC_ALL=C.UTF-8", "GIT_CONFIG_NOSYSTEM=1",
	}
	cmd.SysProcAttr = child.Attributes(syscall.SIGKILL)
	return cmd
}

// setUp waits for the server and makes the accounts of the administrator and the bot.
func (g *GiteaServer) setUp(ctx context.Context, binary, dir string) error {
	if err := g.waitReady(ctx); err != nil {
		return err
	}
	// Only the command line can make the first user.
	g.Admin = Account{Login: "root-admin", password: rand.Text()}
	create := giteaCommand(binary, dir, "admin", "user", "create", "--admin", "--must-change-password=false", "--access-token",
		"--username", g.Admin.Login, "--password", g.Admin.password, "--email", "admin@example.com")
	out, err := create.CombinedOutput()
	if err != nil {
		return fmt.Errorf("make the administrator: %w: %s", err, out)
	}
	token := regexp.MustCompile(`\b[0-9a-f]{40}\b`).Find(out)
	if token == nil {
		return fmt.Errorf("make the administrator: no token in %q", out)
	}
	g.Admin.Token = string(token)
	g.Bot, err = g.newAccount(ctx, "reconciler-bot", botScopes)
	return err
}

func (g *GiteaServer) waitReady(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+"/api/healthz", nil)
		if err != nil {
			return fmt.Errorf("ask for health: %w", err)
		}
		response, err := giteaServer.client.Do(request)
		if err == nil {
			_ = response.Body.Close() // Only the status counts.
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for Gitea: %w", ctx.Err())
		case <-giteaServer.process.Done():
			return errors.New("Gitea ended while it started")
		case <-tick.C:
		}
	}
}

func logTail(path string) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(text[max(0, len(text)-logTailSize):])
}

// stopGitea kills the server: nothing of it is needed any more, and a kind stop takes up to two seconds.
func stopGitea() error {
	s := &giteaServer
	if s.dir == "" {
		return nil
	}
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	var err error
	if s.process != nil {
		err = s.process.endGroup(syscall.SIGKILL)
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Unlock does what Gitea's operator would: it takes away locks in repositories that are older than an age, and returns how many
// there were. Gitea kills git when its client is gone; a lock that git had stays, and nobody can push to that branch any more.
func (g *GiteaServer) Unlock(older time.Duration) (n int, err error) {
	root := filepath.Join(giteaServer.dir, "work", "data", "gitea-repositories")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we looked
		}
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "objects" {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".lock" {
			return nil
		}
		info, err := d.Info()
		if err != nil || time.Since(info.ModTime()) < older {
			return nil
		}
		if os.Remove(path) == nil {
			n++
		}
		return nil
	})
	return n, err
}
