package usb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Buses is several buses as one. Their devices' IDs differ.
type Buses []Bus

// Devices implements Bus. A bus that cannot be listed does not hide the others:
// its error is returned beside their devices.
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

// Watch implements Bus. It ends with ctx, or when a bus fails.
func (b Buses) Watch(ctx context.Context, changed func()) error {
	watch, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var one sync.Mutex // changed is never called concurrently
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

// Open implements Bus: it asks the bus that lists the device.
func (b Buses) Open(id string, o OpenOptions) (Device, error) {
	for _, bus := range b {
		d, err := bus.Open(id, o)
		if !errors.Is(err, ErrNotFound) {
			return d, err
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
}
