// Package session keeps what two peers have with each other while links come
// and go: frames that arrive exactly once and in order on every lane, and on
// top of them URBs that run once and complete once.
//
// A [Session] is both roles at once. As a client it gives out far devices, each
// a usb.Device; as a host it runs what the peer submits on devices that its
// Host opens.
package session
