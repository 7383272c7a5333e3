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
// Session.mu guards which attachments exist. Each attachment has a lock for its URBs. None of these locks is taken while
// another one of them is held, or held while the Done of an URB or an OnEvent runs. Pushing frames is allowed under any
// of them.
package session
