package congestion

import (
	"slices"
	"testing"
	"time"
)

// contestants are the flows of a sharing test.
type contestants struct {
	flows   []func() control
	apart   time.Duration // time between the beginnings of two flows
	queue   time.Duration
	loss    float64
	farther time.Duration // how much longer the round trip of the last flow is
	most    float64       // ratio of the largest to the smallest share
}

// shares returns the median ratio of the largest to the smallest share. The median counts,
// since a single lost packet may decide which flow slows down first.
func (c contestants) shares() float64 {
	var ratios []float64
	for seed := range uint64(seeds) {
		s := newSimulation(path{50, 50 * ms, 0, c.loss, 1, c.queue, 0}, seed+1)
		var flows []*flow
		for i, control := range c.flows {
			flows = append(flows, s.start(control(), time.Duration(i)*c.apart+time.Duration(seed)*7*ms))
		}
		flows[len(flows)-1].farther = Time(c.farther)
		s.runUntil(Time(15 * time.Second))
		for _, f := range flows {
			f.delivered = 0
		}
		s.runUntil(Time(32 * time.Second))
		slices.SortFunc(flows, func(a, b *flow) int { return a.delivered - b.delivered })
		ratios = append(ratios, float64(flows[len(flows)-1].delivered)/float64(flows[0].delivered))
	}
	return median(ratios)
}

func TestSharesLinkWithTCPAndWithItself(t *testing.T) {
	tcp := func() control { return newTCP() }
	two, three := []func() control{ours, ours}, []func() control{ours, ours, ours}
	before, after := []func() control{ours, tcp}, []func() control{tcp, ours}
	const apart = 4 * time.Second
	for name, c := range map[string]contestants{
		"two, queue 10 ms":              {two, apart, 10 * ms, 0, 0, 1.75},
		"two, queue 50 ms":              {two, apart, 50 * ms, 0, 0, 1.5},
		"two, queue 500 ms":             {two, apart, 500 * ms, 0, 0, 1.5},
		"two, queue 10 ms, 1 % loss":    {two, apart, 10 * ms, 0.01, 0, 1.75},
		"two, queue 50 ms, 1 % loss":    {two, apart, 50 * ms, 0.01, 0, 1.5},
		"two, queue 500 ms, 1 % loss":   {two, apart, 500 * ms, 0.01, 0, 1.5},
		"three, queue 10 ms":            {three, apart, 10 * ms, 0, 0, 2},
		"three, queue 50 ms":            {three, apart, 50 * ms, 0, 0, 2},
		"three, queue 500 ms, 1 % loss": {three, apart, 500 * ms, 0.01, 0, 2},
		"TCP comes later, queue 10 ms":  {before, apart, 10 * ms, 0, 0, 3},
		"TCP comes later, queue 50 ms":  {before, apart, 50 * ms, 0, 0, 3},
		"TCP comes later, queue 500 ms": {before, apart, 500 * ms, 0, 0, 3},
		"TCP comes first, queue 10 ms":  {after, apart, 10 * ms, 0, 0, 3},
		"TCP comes first, queue 50 ms":  {after, apart, 50 * ms, 0, 0, 3},
		"TCP comes first, queue 500 ms": {after, apart, 500 * ms, 0, 0, 3},
		"50 and 100 ms, queue 50 ms":    {two, 0, 50 * ms, 0, 50 * ms, 4},
		"50 and 200 ms, queue 200 ms":   {two, 0, 200 * ms, 0, 150 * ms, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ratio := c.shares()
			t.Logf("1:%.2f", ratio)
			if ratio > c.most {
				t.Errorf("the shares are 1:%.2f, want at most 1:%v", ratio, c.most)
			}
		})
	}
}
