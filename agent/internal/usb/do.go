package usb

import "context"

// Start submits u, whose Done it sets, and returns a channel that is closed
// when u is complete.
func Start(d Device, u *URB) <-chan struct{} {
	done := make(chan struct{})
	u.Done = func(*URB) { close(done) }
	d.Submit(u)
	return done
}

// Do runs u to its end and returns its status. When ctx ends first it cancels
// u and still waits for it, which a Device does not draw out.
func Do(ctx context.Context, d Device, u *URB) Status {
	done := Start(d, u)
	select {
	case <-done:
	case <-ctx.Done():
		d.Cancel(u)
		<-done
	}
	return u.Status
}
