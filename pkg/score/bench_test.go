package score_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/score"
)

// BenchmarkLoad reads and validates a rich file as it stands in a repository with many of them. cpu-us/file is what
// the process took in user and system time, the collector's included; the goal is 300.
func BenchmarkLoad(b *testing.B) {
	data, err := os.ReadFile("testdata/rich.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	before := cpu(b)
	files := 0
	for b.Loop() {
		workloads, faults := score.Load(score.Source{Name: fmt.Sprintf("apps/%d/score.yaml", files), Data: data})
		if len(workloads) != 1 || len(faults) > 0 {
			b.Fatal(faults)
		}
		files++
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(files), "cpu-us/file")
}

// cpu returns the time that the process has computed.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
