// Package certs provides the TLS certificate of the public port. It comes from
// one of three sources:
//
//   - files, which are read again when they change;
//   - a certificate authority, by ACME (RFC 8555). All instances share this
//     certificate through the store;
//   - the server itself: a self-signed certificate for clients that know its pin.
//
// The package also derives the keys of session tickets, so that a client of one
// instance can resume its TLS session at another.
//
//	files ───────┐                            ┌─► GetCertificate
//	self-signed ─┼─► the current certificate ─┤
//	ACME ────────┘                            └─► Status: metrics, doctor, warnings
//
// A server never falls back to a source that was not configured. While there is
// no certificate by ACME yet, it presents a self-signed certificate that no client
// accepts which verifies certificates. This serves the health checks of load
// balancers, which send no server name and verify nothing: without successful
// checks no instance would receive the connections of the authority.
package certs
