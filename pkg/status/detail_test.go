package status_test

import (
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/status"
)

func TestForeignTextForgesNoLineOfADiff(t *testing.T) {
	t.Parallel()
	const evil = "a\n- containers.main\r\u2028+ b\x1b[31m"
	at := fault.Place{File: evil, Line: 1}
	var fields []planner.Field
	for _, a := range []planner.Action{planner.Create, planner.Update, planner.Delete} {
		fields = append(fields, planner.Field{Path: evil, Action: a, Before: evil, After: evil, BeforeAt: at, AfterAt: at})
	}
	p := &planner.Plan{
		Changes: []planner.Change{{Action: planner.Create, Part: evil, Detail: evil, At: at}, {Action: planner.Update, Part: evil, Fields: fields}},
		Objects: []planner.ObjectChange{{Action: planner.Delete, Kind: evil, Name: evil}, {Action: planner.Update, Kind: evil, Namespace: evil, Name: evil, Fields: fields}},
	}
	for name, text := range map[string]string{"words": status.Words(p), "objects": status.Objects(p)} {
		if strings.Count(text, "\n") != 5 || strings.ContainsAny(text, "\r\u2028\x1b") {
			t.Errorf("%s: %q", name, text)
		}
	}
}
