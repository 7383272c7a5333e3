// Package bench measures the rendezvous: real processes of it, a Postgres of its
// own, and a swarm of simulated agents with real keys and real TLS. It is tests
// alone. Without a flag they show in small that all of it works; with
// -bench-rendezvous they measure, which takes some ten minutes and wants a
// machine that does nothing else.
package bench
