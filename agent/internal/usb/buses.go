package usb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Buses combines several buses into one. No two of their devices may have the
// same ID.
type Buses []Bus

// Devices implements Bus. If some of the buses fail, it returns the devices of
// the others together with the errors, joined.
func (b Buses) Devices() ([]Info, error) {
	var all []Info
	var errs []error
	for _, bus := range b {
		infos, err := bus.Devices()
		all, errs = append(all, infos...), append(errs, err)
	}
	slices.SortFunc(all, func(x, y Info) int { return cmp.Compare(x.ID, y.ID) })
	return all, errors.Join(errs...)
}

// Watch implements Bus. It returns nil when ctx ends, or the error of the first
// bus that fails.
func (b Buses) Watch(ctx context.Context, changed func()) error {
	watch, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var one sync.Mutex // held while changed runs, which must not be called concurrently
	var joined sync.WaitGroup
	for _, bus := range b {
		joined.Go(func() {
			err := bus.Watch(watch, func() {
				one.Lock()
				defer one.Unlock()
				changed()
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	<-watch.Done()
	joined.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(watch)
}

// Open implements Bus. It asks the buses in order until one knows the device.
func (b Buses) Open(id string, o OpenOptions) (Device, error) {
	for _, bus := range b {
		d, err := bus.Open(id, o)
		if !errors.Is(err, ErrNotFound) {
			return d, err
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
}
