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
// A command that the device does not accept is reported with the next transfer of the
// driver. The data of a write are sent when the driver submits them, and complete
// when the device has taken them. No write is reported before the device has
// reported it.
//
// # Reading ahead
//
// After two reads of which the second begins where the first ends, the stage reads
// on with commands and tags of its own, see [ahead]. It answers later reads from
// what has arrived. Nothing but READ commands is sent ahead: they have no side
// effects. The host owns the device, so every write passes through this stage and drops the
// blocks that it changes. Commands that may change anything else drop all blocks.
//
// If a read ahead fails, the stage fetches its sense data. A medium error, for
// example, is dropped: the driver has not asked for the block. What is news for the driver, for example
// that the medium was changed, is kept and fails the driver's next command,
// see [news].
//
// # Doubt
//
// The stage passes URBs through unchanged, and drops its blocks, when it meets
// anything but an orderly sequence: an error of a transfer, a reset, a cancelled
// URB, a transfer that it did not expect. It takes up its work after the next complete
// status wrapper. It stops for good when the device breaks the protocol, and for the
// devices in [quirks].
//
// # Independence
//
// The design follows from the two documents named above and from measurements of
// this project: the three waits of the driver are removed by the client alone, with the
// commands and URBs of the standard. Nothing replaces URB headers by tokens, and
// every endpoint's transfers keep their identity. What is read ahead are blocks of a disk
// that SCSI READ commands address, not transfers of an endpoint.
package storage
