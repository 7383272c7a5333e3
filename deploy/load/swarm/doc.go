// Package swarm is many simulated agents in one process, to put a rendezvous
// under load: each has a key, a registration, a TLS connection and a source
// address of its own, keeps the connection alive, comes back when it is lost,
// and waits in between, as real agents do. They share no device and open no
// link.
//
//	New ──► Register ──► Connect ──► Allow ──► Send, Lookup ──► Remove ──► Close
//
// A connected peer costs one goroutine and the state of its TLS connection.
package swarm
