package guest

import (
	"context"
	"time"
)

// MovePointer moves the pointer of the guest's tablet a number of times at a rate per
// second. Each movement is one report of the device.
func (g *Guest) MovePointer(ctx context.Context, moves, rate int) error {
	const widest = 0x7fff // of the tablet's axes
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for n := 0; n < moves; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			n++
			axis := map[string]any{"axis": "x", "value": n * 16 % widest}
			move := map[string]any{"events": []any{map[string]any{"type": "abs", "data": axis}}}
			if _, err := g.QMP("input-send-event", move); err != nil {
				return err
			}
		}
	}
	return nil
}
