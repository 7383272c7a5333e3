// Package fleet tests many instances of the rendezvous as one: real processes of
// the server over one Postgres, behind a load balancer without stickiness, with
// some hundred peers of real keys and real TLS that talk all the while. It is
// tests alone. Instances are killed, paused, parted and restarted, the database
// crashes, hangs and fails over; what is held to is what users rely on:
//
//   - a message whose sender was told that it is sent has arrived;
//   - of every other message the sender hears that it may not have arrived, or
//     its own connection ends, within seconds;
//   - peers that lose their instance are soon at another one, and found there;
//   - what the database goes through does not reach those who are connected.
package fleet
