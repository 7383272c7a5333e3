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
// Session.mu guards which attachments exist, and each attachment has a lock for its URBs. These locks are never held
// together, and none of them is held while the Done of an URB or an OnEvent runs. Frames may be pushed under any of
// them. exportedAttachment.order alone is different: it is taken before the mu of the same attachment, and held while
// the device receives URBs.
package session
