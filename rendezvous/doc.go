// Package rendezvous puts the rendezvous together: the registry over its store,
// the REST interface, the signalling hub, the cluster and the relay, behind one
// HTTPS port and one STUN port. It is all of the server except the reading of
// its flags, so that a test can run the real thing.
package rendezvous
