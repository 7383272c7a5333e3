// Package fleet tests several instances of the rendezvous: real processes of the
// server over one Postgres, behind a load balancer that does not pin clients to an
// instance. A few hundred peers with real keys and TLS exchange messages all the
// time, while instances are killed, paused, cut off from each other and restarted,
// and the database crashes, hangs and fails over. The package contains only tests.
// They check what users rely on:
//
//   - a message that was confirmed to its sender has arrived;
//   - for every other message, the sender gets a failure or loses its connection;
//   - peers that lose their instance connect to another one, and are found there;
//   - failures of the database do not affect connected peers.
package fleet
