package testenv

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A key that was answered is answered alike; one for which the office was busy is a new request.
func TestAnOfficeRemembersKeysItHasAnswered(t *testing.T) {
	t.Parallel()
	o := NewOffice(t)
	statuses := []int{http.StatusServiceUnavailable, 0, http.StatusTeapot}
	o.Remember(func(*http.Request, []byte) int {
		s := statuses[0]
		statuses = statuses[1:]
		return s
	})
	var got []string
	for _, key := range []string{"a", "a", "a", "b", "b"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.URL+"/x?y=z", strings.NewReader("said with "+key))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", key)
		answer, err := o.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		got = append(got, fmt.Sprintf("%d %s", answer.StatusCode, strings.TrimSpace(string(text))))
	}
	for _, e := range o.Record() {
		got = append(got, fmt.Sprintf("%s %s %q %d %d %t", e.Path, e.Key, e.Body, e.Status, e.N, e.Again))
	}
	want := `503 {"n":1,"path":"/x"}
200 {"n":2,"path":"/x"}
200 {"n":2,"path":"/x"}
418 {"n":4,"path":"/x"}
418 {"n":4,"path":"/x"}
/x a "said with a" 503 1 false
/x a "said with a" 200 2 false
/x a "said with a" 200 2 true
/x b "said with b" 418 4 false
/x b "said with b" 418 4 true`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}
