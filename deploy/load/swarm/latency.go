package swarm

import (
	"encoding/json"
	"slices"
	"time"
)

// Latencies is how long each of many things took.
type Latencies []time.Duration

// Quantile is the time within which a part q of all was done, 0 without any.
func (l Latencies) Quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// quantiles is what is written of latencies, in milliseconds.
type quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
}

// MarshalJSON writes the quantiles in milliseconds.
func (l Latencies) MarshalJSON() ([]byte, error) {
	ms := func(q float64) float64 { return float64(l.Quantile(q).Microseconds()) / 1000 }
	return json.Marshal(quantiles{Count: len(l), P50: ms(0.5), P99: ms(0.99), P999: ms(0.999), Max: ms(1)})
}

// Rate is how many things were done in how long.
type Rate struct {
	Done    int           `json:"done"`
	Took    time.Duration `json:"took_ns"`
	Latency Latencies     `json:"latency"`
}

// PerSecond is the rate.
func (r Rate) PerSecond() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.Done) / r.Took.Seconds()
}
