// Package relayload puts a TURN server under load, whoever made it: some
// allocations, through which packets are relayed at a steady rate in one
// direction, between sockets of this process. Both ends read and write many
// packets with one system call, so that the server is the limit and not they.
package relayload
