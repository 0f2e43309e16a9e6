package telemetry_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/telemetry"
)

func TestDurationsSayTheirUnit(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"json": `"took":"118.678819ms"`, "console": "took=118.678819ms"} {
		var out bytes.Buffer
		log, err := telemetry.Logger(&out, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Dur("took", 118678819*time.Nanosecond).Msg("done")
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %q is not in %s", format, want, out.String())
		}
	}
}

func TestUnknownLevelsAreRefused(t *testing.T) {
	t.Parallel()
	if _, err := telemetry.Logger(&bytes.Buffer{}, "json", "loud"); err == nil {
		t.Error("it is accepted")
	}
}
