// Package session implements the session of two peers: URBs that run once and complete once while links come and go.
//
// A [Session] has both roles at once. As a client it returns remote devices, each a usb.Device. As a host it runs the
// URBs of the peer on devices that its [Host] opens.
//
//	client                                      host
//	remoteDevice: a usb.Device                  exportedAttachment: runs URBs on a usb.Device
//	      └────────────────┬────────────────────────┘
//	attachments: those of both roles that exist in one state of the transport
//	                       │
//	package transport: lanes, numbers, acknowledgement, links
//
// Locks are taken from the top of this list to its end. None of them is held while the Done of an URB or an OnEvent
// runs, except exportedAttachment.order, which orders the URBs that a device receives.
//
//	exportedAttachment.order
//	exportedAttachment.mu, remoteDevice.mu   one attachment
//	Session.mu                               which attachments exist
package session
