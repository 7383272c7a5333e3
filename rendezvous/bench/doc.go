// Package bench measures the rendezvous: real server processes, a Postgres server of
// its own, and a swarm of simulated agents with real keys and TLS. The package
// contains only tests. By default they run at a small scale and show that
// everything works. With -bench-rendezvous they measure, which takes about ten
// minutes on a machine that must be idle otherwise.
package bench
