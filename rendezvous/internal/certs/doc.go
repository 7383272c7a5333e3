// Package certs keeps the certificate of the public port: from files, which it
// reads again when they change; from a certificate authority, by ACME (RFC
// 8555), shared by all instances through the store; or self-signed, for those who
// know its pin. It also keeps the keys of session tickets, so that a connection
// to one instance can be resumed at another.
//
//	files ───────┐                       ┌─► GetCertificate
//	self-signed ─┼─► the one shown now ──┤
//	ACME ────────┘                       └─► Status: metrics, doctor, warnings
//
// What is asked for is what is shown, or else nothing that anybody would trust:
// while there is no certificate by ACME yet, a self-signed one is shown that no
// client accepts which checks certificates. It keeps the health checks of load
// balancers going, which ask no name and check nothing, and without which the
// authority could not reach any instance.
package certs
