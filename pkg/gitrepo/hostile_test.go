package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsNoFileIsAFaultAtItsPlace(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		c := Hash(k.CommitFiles("main", gitserver.File{Path: "dir/f", Content: "1"}, gitserver.File{Path: "ok.yaml", Content: "1"},
			gitserver.File{Path: "link.yaml", Mode: "120000", Content: "ok.yaml"}, gitserver.File{Path: "up", Mode: "120000", Content: ".."},
			gitserver.File{Path: "module", Mode: "160000", Content: strings.Repeat("12", 20)},
			gitserver.File{Path: "edge", Content: strings.Repeat("x", DefaultMaxFileBytes)},
			gitserver.File{Path: "large", Content: strings.Repeat("x", DefaultMaxFileBytes+1)}))
		if err := k.mirror.Fetch(t.Context(), Want{c, "refs/heads/main"}); err != nil {
			t.Fatal(err)
		}
		tree, err := k.mirror.Tree(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]struct {
			code  fault.Code
			place string
		}{
			"link.yaml": {fault.FileIsSymlink, "link.yaml"}, "up": {fault.FileIsSymlink, "up"}, "up/etc/passwd": {fault.FileIsSymlink, "up"},
			"module": {fault.FileIsSubmodule, "module"}, "module/x": {fault.FileIsSubmodule, "module"}, "dir": {fault.FileIsDirectory, "dir"},
			"large": {fault.FileTooLarge, "large"}, "../x": {fault.PathInvalid, ""}, "/etc/passwd": {fault.PathInvalid, ""}, "dir/../ok.yaml": {fault.PathInvalid, ""},
			"dir/": {fault.PathInvalid, ""}, "": {fault.PathInvalid, ""}, ".": {fault.PathInvalid, ""}, "a\x00b": {fault.PathInvalid, ""},
		} {
			_, found, err := tree.Read(path)
			f := wantCode(t, err, want.code)
			if found || f.Place.File != want.place || f.Class() != fault.Permanent {
				t.Errorf("%s: found %t, at %q, %s", path, found, f.Place, f.Class())
			}
		}
		if text, found, err := tree.Read("edge"); err != nil || !found || len(text) != DefaultMaxFileBytes {
			t.Errorf("a file of exactly the limit: %t, %v", found, err)
		}
		paths, err := tree.Paths(func(p string) bool { return strings.HasSuffix(p, ".yaml") })
		if err != nil {
			t.Fatal(err)
		}
		equal(t, []string{"link.yaml", "ok.yaml"}, paths)
	})
}

func TestTagsAreFollowedToTheirCommits(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		c := k.Commit("main", map[string]string{"f": "1"})
		k.Run("tag", "-a", "-m", "first", "v1", c)
		k.Run("update-ref", "-d", "refs/heads/main")
		equal(t, map[string]Hash{"refs/tags/v1": Hash(c)}, k.refs("refs/tags/").Commits)
		if err := k.mirror.Fetch(t.Context(), Want{Hash(c), "refs/tags/v1"}); err != nil {
			t.Fatal(err)
		}
		equal(t, map[string]string{"f": "1"}, k.files(c))
	})
}

func TestSeesThatTheDefaultBranchWasRenamed(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, k *kit) {
		k.Commit("main", map[string]string{"f": "1"})
		equal(t, "refs/heads/main", k.refs("refs/heads/").Head)
		k.Run("branch", "-m", "main", "trunk")
		k.Run("symbolic-ref", "HEAD", "refs/heads/trunk")
		equal(t, "refs/heads/trunk", k.refs("refs/heads/").Head)
	})
}

func TestCredentialsDecideAndAreNeverShown(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{Username: "bot", Password: "s3cret-token"})
	c := k.Commit("main", map[string]string{"f": "1"})
	equal(t, map[string]string{"f": "1"}, k.files(c))
	inURL := Remote{URL: strings.Replace(k.URL, "http://", "http://bot:s3cret-token@", 1)}
	if _, err := k.client.ListRefs(t.Context(), inURL); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Remote{
		{URL: k.URL}, {URL: k.URL, Auth: Auth{"bot", "s3cret-wrong"}}, {URL: strings.Replace(k.URL, "http://", "http://s3cret-user:s3cret-x@", 1)},
		{URL: "http://s3cret:s3cret@127.0.0.1:1/x"}, {URL: "http://s3cret:s3cret@nowhere.invalid\x7f/x"}, {URL: "gopher://s3cret@x/y"},
	} {
		_, err := k.client.ListRefs(t.Context(), r)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), "s3cret") {
			t.Errorf("got %v", err)
		}
		if strings.HasPrefix(r.URL, k.URL[:12]) && r.URL == k.URL {
			if f := wantCode(t, err, fault.GitUnauthorized); f.Class() != fault.Refused {
				t.Error(f.Class())
			}
		}
	}
	k.remote.Auth = Auth{"bot", "s3cret-old"}
	if err := k.open().Fetch(t.Context(), Want{Commit: Hash(strings.Repeat("1", 40))}); err == nil {
		t.Error("wrong credentials fetch")
	}
}

func TestUnknownRepositoryIsRefused(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	_, err := k.client.ListRefs(t.Context(), Remote{URL: k.URL + "-other"})
	if f := wantCode(t, err, fault.GitNotFound); f.Class() != fault.Refused {
		t.Error(f.Class())
	}
}

func TestRedirectsStayOnTheirHost(t *testing.T) {
	t.Parallel()
	k := newKit(t, gitserver.Options{})
	k.Commit("main", map[string]string{"f": "1"})
	elsewhere := httptest.NewServer(http.RedirectHandler(k.URL+"/info/refs?service=git-upload-pack", http.StatusMovedPermanently))
	defer elsewhere.Close()
	_, err := k.client.ListRefs(t.Context(), Remote{URL: elsewhere.URL + "/x"})
	wantCode(t, err, fault.GitAddressRefused)

	renamed := newKit(t, gitserver.Options{Before: func(w http.ResponseWriter, r *http.Request) bool {
		if rest, old := strings.CutPrefix(r.URL.Path, "/old.git"); old {
			http.Redirect(w, r, "/shop.git"+rest+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
			return true
		}
		return false
	}})
	c := renamed.Commit("main", map[string]string{"f": "1"})
	renamed.remote.URL = strings.Replace(renamed.URL, "shop.git", "old.git", 1)
	renamed.mirror = renamed.open()
	equal(t, Hash(c), renamed.refs("refs/heads/").Commits["refs/heads/main"])
	equal(t, map[string]string{"f": "1"}, renamed.files(c))
}

func TestPollIsOneRequestAndFollowsARenamedRepository(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	var moved atomic.Bool
	k := newKit(t, gitserver.Options{Before: func(w http.ResponseWriter, r *http.Request) bool {
		requests.Add(1)
		switch rest, ok := strings.CutPrefix(r.URL.Path, "/new.git"); {
		case ok:
			r.URL.Path = "/shop.git" + rest
		case moved.Load():
			http.Redirect(w, r, strings.Replace(r.URL.String(), "shop.git", "new.git", 1), http.StatusMovedPermanently)
			return true
		}
		return false
	}})
	c := Hash(k.Commit("main", map[string]string{"f": "1"}))
	for _, want := range []int32{2, 3, 4} {
		equal(t, c, k.refs("refs/heads/main").Commits["refs/heads/main"])
		equal(t, want, requests.Load())
	}
	moved.Store(true)
	equal(t, c, k.refs("refs/heads/main").Commits["refs/heads/main"])
	before := requests.Load()
	equal(t, c, k.refs("refs/heads/main").Commits["refs/heads/main"])
	equal(t, before+1, requests.Load())
}

func TestBusyServerIsNotAskedTwice(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	var busy atomic.Bool
	k := newKit(t, gitserver.Options{Before: func(w http.ResponseWriter, _ *http.Request) bool {
		requests.Add(1)
		if busy.Load() {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return busy.Load()
	}})
	k.refs()
	busy.Store(true)
	before := requests.Load()
	_, err := k.client.ListRefs(t.Context(), k.remote)
	equal(t, time.Minute, wantCode(t, err, fault.GitBusy).After)
	equal(t, before+1, requests.Load())
	busy.Store(false)
	k.refs()
	equal(t, before+2, requests.Load())
}

func TestAddressesThatNoGitServerHasAreNotDialled(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][2]bool{ // refused by default, refused without private networks
		"169.254.169.254:80": {true, true}, "[fe80::1]:443": {true, true}, "[fd00:ec2::254]:80": {true, true}, "100.100.100.200:80": {true, true},
		"[::ffff:169.254.169.254]:80": {true, true}, "0.0.0.0:80": {true, true}, "[::]:80": {true, true}, "224.0.0.1:80": {true, true},
		"127.0.0.1:80": {false, true}, "[::1]:80": {false, true}, "10.1.2.3:22": {false, true}, "192.168.1.1:80": {false, true}, "[fd12::1]:80": {false, true},
		"140.82.121.4:443": {false, false}, "[2606:50c0:8000::153]:443": {false, false}, "nonsense": {true, true},
		"[64:ff9b::a9fe:a9fe]:80": {true, true}, "[64:ff9b::8c52:7904]:80": {false, false}, "100.64.1.1:80": {false, true},
	} {
		got := [2]bool{checkAddress(address, false) != nil, checkAddress(address, true) != nil}
		equal(t, want, got)
	}
	k := newKitWith(t, gitserver.Options{}, ClientConfig{DenyPrivate: true})
	_, err := k.client.ListRefs(t.Context(), k.remote)
	wantCode(t, err, fault.GitAddressRefused)
}

func TestServersAnswersDecideWhatHappensNext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		header string
		code   fault.Code
		after  time.Duration
	}{
		{429, "7", fault.GitBusy, 7 * time.Second}, {503, "99999999", fault.GitBusy, time.Hour}, {503, "", fault.GitBusy, 0},
		{403, "30", fault.GitBusy, 30 * time.Second}, {403, "", fault.GitUnauthorized, 0}, {401, "", fault.GitUnauthorized, 0},
		{404, "", fault.GitNotFound, 0}, {410, "", fault.GitNotFound, 0}, {500, "", fault.GitUnreachable, 0}, {502, "", fault.GitUnreachable, 0},
		{200, "", fault.GitProtocol, 0}, {204, "", fault.GitProtocol, 0}, {418, "", fault.GitProtocol, 0},
		{429, "Sun, 06 Nov 1994 08:49:37 GMT", fault.GitBusy, 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.header)
			w.WriteHeader(c.status)
			if c.status == 200 {
				fmt.Fprint(w, "<html>log in</html>")
			}
		}))
		client := NewClient(ClientConfig{})
		_, err := client.ListRefs(t.Context(), Remote{URL: server.URL + "/x"})
		f := wantCode(t, err, c.code)
		equal(t, c.after, f.After)
		client.Close()
		server.Close()
	}
}

func TestGarbageIsNamedAsSuch(t *testing.T) {
	t.Parallel()
	for answer, code := range map[string]fault.Code{
		"":                fault.GitProtocol,
		"<html>":          fault.GitProtocol,
		"0009hello0000":   fault.GitProtocol,
		"000eversion 2\n": fault.GitUnreachable, // broken off
		"000eversion 2\n0018object-format=sha256":       fault.GitUnreachable,
		"000eversion 2\n0019object-format=sha256\n0000": fault.GitFormatUnsupported,
		"0013ERR go away now":                           fault.GitUnreachable,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			fmt.Fprint(w, answer)
		}))
		client := NewClient(ClientConfig{})
		_, err := client.ListRefs(t.Context(), Remote{URL: server.URL})
		f, _ := fault.As(err)
		if f == nil || f.Code != code {
			t.Errorf("%q: got %v, want %s", answer, err, code)
		}
		client.Close()
		server.Close()
	}
}

func TestSlowAndEndlessServersEndByTheDeadline(t *testing.T) {
	t.Parallel()
	chunk := []byte("fff0\x01" + strings.Repeat("x", 0xfff0-5))
	for name, stall := range map[string]func(w http.ResponseWriter, r *http.Request){
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"stops in the pack": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			fmt.Fprint(w, "000dpackfile\n0010\x01PACK\x00\x00\x00\x02")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, err := fmt.Fprint(w, "000dpackfile\n")
			for err == nil {
				_, err = w.Write(chunk)
			}
		},
		"endless talk": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, err := fmt.Fprint(w, "000dpackfile\n")
			for err == nil {
				_, err = fmt.Fprint(w, "0009\x02wait")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKitWith(t, gitserver.Options{Before: func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					_, _ = new(bytes.Buffer).ReadFrom(r.Body)
					stall(w, r)
					return true
				}
				return false
			}}, ClientConfig{Timeout: 300 * time.Millisecond, MaxPackBytes: 8 << 20})
			c := k.Commit("main", map[string]string{"f": "1"})
			began := time.Now()
			err := k.mirror.Fetch(t.Context(), Want{Hash(c), "refs/heads/main"})
			if f, _ := fault.As(err); f == nil || f.Code != fault.GitUnreachable && f.Code != fault.PackTooLarge {
				t.Errorf("got %v", err)
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the caller's deadline"))
			defer cancel()
			if err := k.mirror.Fetch(ctx, Want{Hash(c), "refs/heads/main"}); err == nil {
				t.Error("no error at the caller's deadline")
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
			if left, _ := filepath.Glob(filepath.Join(k.dir, "objects", "pack", "receiving-*")); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}
