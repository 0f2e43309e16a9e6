package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/status"
)

// preview asks for a plan of files.
func preview(files map[string]string) string {
	text, _ := json.Marshal(map[string]any{"repository": "new/one", "environment": "production", "files": files})
	return string(text)
}

const shop = "apiVersion: score.dev/v1b1\nmetadata: {name: shop}\ncontainers: {main: {image: \"shop:1\"}}\n"

func TestWorkingCopiesOfSeveralMegabytesArePlanned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := map[string]string{"score.yaml": shop}
	for i := range 3 {
		files[fmt.Sprintf("data/%d.yaml", i)] = strings.Repeat("# nothing here is needed\n", 1<<20/25)
	}
	answer := w.send(http.MethodPost, "/api/v1/plan", auth.Read, preview(files))
	var outcomes []status.Outcome
	if err := json.Unmarshal(answer.Body.Bytes(), &outcomes); err != nil || answer.Code != http.StatusOK || len(outcomes) != 1 || !outcomes[0].Changes() {
		t.Errorf("%d: %.300s", answer.Code, answer.Body)
	}
}

func TestBodiesBeyondTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, size := range map[string]int{"/plan": 16 << 20, "/tokens": 1 << 20} {
		p := w.refused(w.send(http.MethodPost, "/api/v1"+path, auth.Admin, `"`+strings.Repeat("x", size)+`"`), http.StatusRequestEntityTooLarge, fault.RequestTooLarge)
		w.holds(p.Detail, fmt.Sprint(size))
	}
}
