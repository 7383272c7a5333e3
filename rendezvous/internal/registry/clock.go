package registry

import "time"

// Clock returns now, or time.Now if now is nil, cut to the millisecond. Stores
// keep times to the millisecond: with this clock a value that was stored equals
// the value that is read back.
func Clock(now func() time.Time) func() time.Time {
	if now == nil {
		now = time.Now
	}
	return func() time.Time { return now().Truncate(time.Millisecond) }
}
