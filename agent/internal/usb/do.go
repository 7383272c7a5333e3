package usb

import "context"

// Start sets u.Done, submits u to d and returns a channel that is closed when u
// is complete.
func Start(d Device, u *URB) <-chan struct{} {
	done := make(chan struct{})
	u.Done = func(*URB) { close(done) }
	d.Submit(u)
	return done
}

// Do submits u to d, waits until it is complete and returns its status. If ctx
// ends first, Do cancels u and still waits: a Device completes cancelled URBs
// promptly.
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
