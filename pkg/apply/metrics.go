package apply

import "github.com/prometheus/client_golang/prometheus"

// metrics are what the runner counts.
type metrics struct {
	ended  *prometheus.CounterVec
	took   *prometheus.HistogramVec
	writes prometheus.Counter
}

// Collectors returns the runner's metrics; call it once, before the runner is used.
func (r *Runner) Collectors() []prometheus.Collector {
	r.metrics = metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reconciler_runs_total", Help: "Runs that ended, by kind and state.",
		}, []string{"kind", "state"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "reconciler_run_seconds", Help: "Time from the release to the end of its run.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 14),
		}, []string{"kind"}),
		writes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "reconciler_writes_total", Help: "Files that were written or removed in targets.",
		}),
	}
	return []prometheus.Collector{r.metrics.ended, r.metrics.took, r.metrics.writes}
}

// count counts a run that ended. One that did not succeed is counted inside its transaction: if that is rolled back, once too often.
func (m metrics) count(r Run) {
	m.ended.WithLabelValues(string(r.Kind), string(r.State)).Inc()
	m.writes.Add(float64(r.Writes))
	if r.FinishedAt != nil {
		m.took.WithLabelValues(string(r.Kind)).Observe(r.FinishedAt.Sub(r.CreatedAt).Seconds())
	}
}
