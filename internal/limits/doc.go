// Package limits bounds how often, how much and how many: requests by source, connections that are open at a time,
// log records, and bytes and packets of a data path.
//
//   - [Limiter] holds a token bucket for each key, such as the [Prefix] of an address or a peer.
//   - [Counter] counts what is open at a time for each key.
//   - [Sampler] and [Samplers] pass a bounded number of log records and count the others.
//   - [Flow] bounds bytes and packets per second without a lock.
//
// The token buckets are those of golang.org/x/time/rate, and code that needs a single bucket uses that package
// directly. Time is a parameter, so that tests need no clock. Every table of keys has a fixed maximum size, and its
// memory is allocated as keys arrive. All types may be used by several goroutines at once.
package limits
