package recipe

import (
	"errors"
	"testing"
	"text/template"
	"time"
)

func TestTemplateThatTakesTooLongIsStopped(t *testing.T) {
	t.Parallel()
	var into any
	slow := template.Must(template.New("").Parse(`a: {{ .Uid }}`))
	if err := render(slow, Input{}, &into, time.Now().Add(-time.Second)); !errors.Is(err, errTooSlow) {
		t.Errorf("got %v", err)
	}
	if err := render(slow, Input{Uid: "u"}, &into, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
}
