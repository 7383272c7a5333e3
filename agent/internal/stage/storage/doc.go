// Package storage is the storage stage: it hides the distance to a USB disk.
//
// The stage is a [usb.Device] on the client. It understands Bulk-Only Transport
// ("USB Mass Storage Class, Bulk-Only Transport", revision 1.0; section numbers
// refer to it) and needs the guard of package guard on the host.
//
// # One round trip for each command
//
// A driver submits the command block wrapper, waits, submits the data, waits, and
// submits the transfer for the status wrapper (Linux:
// drivers/usb/storage/transport.c, usb_stor_Bulk_transport). That takes three round
// trips. The stage completes the command wrapper at once and sends all three parts
// together; the guard runs them one after the other:
//
//	driver            stage                              host
//	│ command ───────►│ command, data IN, status IN ─────►│ command
//	│◄───────────── OK│                                   │ data
//	│ data IN ───────►│                                   │ status
//	│◄───────────────────────────────────────────────────│
//	│ status IN ─────►│
//	│◄────────────────│
//
// If the device does not accept a command, the driver's next transfer reports it. The
// data of a write complete when the device has taken them. The driver gets the status
// of a write only after the device has sent it.
//
// # Reading ahead
//
// After two reads of which the second begins where the first ends, the stage reads
// on with commands and tags of its own, see [ahead]. It answers later reads with the
// blocks that have arrived. It sends only READ commands ahead, which have no side
// effects. The host owns the device, so every write passes through this stage, which
// then drops the blocks that the write changes. A command that may change anything
// else drops all blocks.
//
// If a read ahead fails, the stage fetches its sense data. It drops an error that
// concerns the blocks, because the driver has not asked for them. It keeps sense data
// that the driver must see, for example after a change of the medium, and fails the
// driver's next command with them, see [pendingSense].
//
// # A disk that is attached
//
// An operating system asks a new disk the same few commands twice and more. The stage
// sends those ahead that every driver sends to every disk, right behind the driver's
// INQUIRY: TEST UNIT READY, READ CAPACITY(10) and, once the capacity is known, reads of
// the first 32 KiB. It also remembers for a second what the unit has answered to
// INQUIRY, READ CAPACITY and MODE SENSE, see [answer]. It never sends MODE SENSE or
// vital product data pages by itself, because some disks do not survive them. Nor does
// it read the last blocks before the driver does, which some disks that report one block
// too many do not survive either (Linux: US_FL_FIX_CAPACITY).
//
// Then udev looks for signatures on the disk and on each partition, which takes 20 to 40
// reads of 4 KiB each. The stage recognizes the first one by its place, and reads the
// others ahead, see [unit.signatures].
//
// The first TEST UNIT READY may be answered with what the unit said up to a second
// earlier. Each further one reaches the unit. So the driver learns of a change with the
// next command that it sends to find out.
//
// # Write cache
//
// A write takes a round trip, because the driver gets its status only after the device
// has sent it. If the owner of the use wants a write cache, the stage is a disk with a
// volatile one, as most disks are: it answers a WRITE when it has the data, and shows
// WCE in the caching mode page. So the kernel knows that a write is safe only after a
// SYNCHRONIZE CACHE, or with FUA (Linux: Documentation/block/writeback_cache_control.rst),
// and fsync keeps its promise. See [cache] for the bounds, the order and the errors. After
// the end of the session, the device is unplugged for the driver, and [Stage.Close]
// reports the writes that are lost.
//
// # Doubt
//
// After an error of a transfer, a reset, a cancelled URB or an unexpected transfer, the
// stage drops its blocks and passes URBs unchanged. It resumes its work after the
// next valid status wrapper or reset. It stays off after the device has broken the
// protocol, and for the devices in [quirks]. Before URBs pass unchanged, the write cache
// is empty.
//
// # Independence
//
// The design follows from the two documents named above and from measurements of
// this project. The client alone removes the three waits of the driver, with the
// commands and URBs of the standard. No token replaces the header of an URB, and the
// transfers of every endpoint keep their identity. The stage reads ahead blocks of a
// disk, which SCSI READ commands address, and not transfers of an endpoint.
package storage
