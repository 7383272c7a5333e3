// Package relayload puts load on any TURN server. It makes some allocations and sends packets through them at a
// steady rate in one direction, between sockets of this process. It reads and writes many packets with one system
// call, so that the server is the bottleneck.
package relayload
