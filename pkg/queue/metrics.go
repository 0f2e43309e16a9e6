package queue

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the numbers that tell how the queue does. Their labels are kinds, states and outcomes, which are few.
type metrics struct {
	finished *prometheus.CounterVec
	wait     *prometheus.HistogramVec
	duration *prometheus.HistogramVec
	depth    *prometheus.GaugeVec
	oldest   *prometheus.GaugeVec
	paused   *prometheus.GaugeVec
	running  prometheus.Gauge
	stuck    prometheus.Gauge
	claimed  prometheus.Gauge
	stranded prometheus.Counter
}

// buckets reach from a millisecond, an idle queue, to about an hour.
var buckets = prometheus.ExponentialBuckets(0.001, 4, 12)

func newMetrics() metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "reconciler", Subsystem: "queue", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.GaugeOpts { return prometheus.GaugeOpts(counter(name, help)) }
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "reconciler", Subsystem: "queue", Name: name, Help: help, Buckets: buckets}
	}
	return metrics{
		finished: prometheus.NewCounterVec(counter("attempts_total", "Attempts that ended in this process."), []string{"kind", "outcome"}),
		wait: prometheus.NewHistogramVec(histogram("wait_seconds",
			"From the moment a job may run to the start of its handler, waiting behind its key included."), []string{"kind"}),
		duration: prometheus.NewHistogramVec(histogram("attempt_seconds", "How long handlers took."), []string{"kind"}),
		depth:    prometheus.NewGaugeVec(gauge("jobs", "Live jobs, as last measured by this process."), []string{"kind", "state"}),
		oldest: prometheus.NewGaugeVec(gauge("oldest_seconds",
			"How long the oldest job has waited or run, as last measured by this process."), []string{"kind", "state"}),
		paused: prometheus.NewGaugeVec(gauge("paused_seconds",
			"How long jobs of a kind have been paused, as last measured by this process; the kind \"\" stands for all."), []string{"kind"}),
		running: prometheus.NewGauge(gauge("held_jobs", "Jobs whose lease this process holds.")),
		stuck: prometheus.NewGauge(gauge("stuck_jobs",
			"Handlers here that go on although their job was taken from them. Each takes a place until it returns or the process ends.")),
		claimed: prometheus.NewGauge(gauge("claimed_timestamp_seconds",
			"When this process last asked for jobs and was answered, or had no place for any, in seconds since 1970.")),
		stranded: prometheus.NewCounter(counter("stranded_total",
			"Blocked jobs that nothing would ever have started. Anything above 0 is a bug; they were started.")),
	}
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.finished, m.wait, m.duration, m.depth, m.oldest, m.paused, m.running, m.stuck, m.claimed, m.stranded}
}

func (m metrics) measured(stats []Stat, pauses []Pause) {
	m.depth.Reset()
	m.oldest.Reset()
	for _, s := range stats {
		m.depth.WithLabelValues(s.Kind, s.State.String()).Set(float64(s.Count))
		m.oldest.WithLabelValues(s.Kind, s.State.String()).Set(s.Oldest.Seconds())
	}
	m.paused.Reset()
	for _, p := range pauses {
		m.paused.WithLabelValues(p.Kind).Set(max(0, time.Since(p.At).Seconds()))
	}
}

// known makes the counters that alerts are about begin at 0: the first event of one that was not there is no increase.
func (m metrics) known(kinds []string) {
	for _, kind := range kinds {
		for _, outcome := range []string{"dead", "abandoned", "lost"} {
			m.finished.WithLabelValues(kind, outcome)
		}
	}
}

func (m metrics) attempt(kind, outcome string, took time.Duration) {
	m.finished.WithLabelValues(kind, outcome).Inc()
	m.duration.WithLabelValues(kind).Observe(took.Seconds())
}
