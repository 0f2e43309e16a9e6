package registry_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	served "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/innominatus/reconciler/pkg/registry"
)

func TestTellsWhatIsGoneFromWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(served.New(served.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(closed.Close)
	host, private := strings.TrimPrefix(server.URL, "http://"), strings.TrimPrefix(closed.URL, "http://")
	there, err := name.ParseReference(host + "/shop:1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(100, 1)
	if err == nil {
		err = remote.Write(there, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]struct{ gone, known bool }{
		host + "/shop:1":                  {false, true},
		host + "/shop@" + digest.String(): {false, true},
		host + "/shop:2":                  {true, true},
		host + "/other:1":                 {true, true},
		private + "/shop:1":               {false, false},
		"127.0.0.1:1/shop:1":              {false, false},
		"not an image":                    {false, false},
	} {
		gone, err := (&registry.Client{}).Gone(t.Context(), ref)
		if gone != want.gone || (err == nil) != want.known {
			t.Errorf("%s: gone %v, %v", ref, gone, err)
		}
	}
}
