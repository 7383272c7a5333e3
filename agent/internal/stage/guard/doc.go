// Package guard runs on the host what the storage stage of a client sends ahead.
//
// # Why
//
// A driver of a USB disk waits for the end of each of the three transfers of a
// command before it submits the next one (Linux: drivers/usb/storage/transport.c,
// usb_stor_Bulk_transport). Across the internet each of them takes a round trip.
// The storage stage submits all of them at once, and those of several commands. But a
// disk is made for one command at a time (Bulk-Only Transport 1.0, 3.3: the host
// shall not send a command before the status of the previous one), and the OUT and
// the IN endpoint have lanes of their own, which may overtake each other.
//
// The guard is a [usb.Device] between the session and the backend. It collects the
// marked URBs of an exchange and hands them to the backend one by one, each after
// the previous one has completed, as a driver on this machine would:
//
//	command ──OK──► data ──OK──► status ──good──► next exchange
//	    │             │             │
//	    └─────────────┴─────────────┴── anything else: the epoch ends
//
// If the device halts the endpoint once instead of the status, the guard clears the halt
// and asks again, as a driver does.
//
// So the device sees no difference. Urgent exchanges, which a driver waits for, run
// before the others. Otherwise exchanges run in the order of their numbers.
//
// # Epochs
//
// After an exchange that is not good, the client must choose the next command:
// REQUEST SENSE must follow a failed command, and a halted endpoint must be cleared.
// Therefore the guard ends the epoch. It completes all other URBs of the epoch with
// StatusReset, also those that arrive later. None of them reaches the device. The
// client starts again with a higher epoch.
//
// A cancelled exchange that has not begun is dropped without an end of the epoch.
//
// # What is not marked
//
// URBs without a mark go straight through, in their order. If one of them uses an
// endpoint of the exchanges, clears its halt, or resets the device, it ends the epoch.
// An honest client sends none of these while its exchanges are under way.
package guard
