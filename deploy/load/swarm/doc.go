// Package swarm simulates many agents in one process to load a rendezvous. Each agent has
// its own key, registration, TLS connection and source address. It keeps its connection
// alive, reconnects when it is lost, and waits in between, as a real agent does. Simulated
// agents share no devices and open no links.
//
//	New ──► Register ──► Connect ──► Allow ──► Send, Lookup ──► Remove ──► Close
//
// A connected peer needs one goroutine and the state of its TLS connection.
package swarm
