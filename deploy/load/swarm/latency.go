package swarm

import (
	"encoding/json"
	"slices"
	"time"
)

// Latencies are durations of many operations.
type Latencies []time.Duration

// Quantile returns the time within which a part q of all operations ended, or 0 for no operations.
func (l Latencies) Quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// quantiles is the JSON form of latencies, in milliseconds.
type quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
}

// MarshalJSON encodes the quantiles in milliseconds.
func (l Latencies) MarshalJSON() ([]byte, error) {
	ms := func(q float64) float64 { return float64(l.Quantile(q).Microseconds()) / 1000 }
	return json.Marshal(quantiles{Count: len(l), P50: ms(0.5), P99: ms(0.99), P999: ms(0.999), Max: ms(1)})
}

// Rate is a number of operations and their total time.
type Rate struct {
	Done    int           `json:"done"`
	Took    time.Duration `json:"took_ns"`
	Latency Latencies     `json:"latency"`
}

// PerSecond returns the rate.
func (r Rate) PerSecond() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.Done) / r.Took.Seconds()
}
