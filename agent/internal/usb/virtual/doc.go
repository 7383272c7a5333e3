// Package virtual implements a bus of software devices for demonstrations, for
// tests and for machines without USB. The devices behave like hardware: an
// endpoint sends NAK while it has no data, stalls, is halted and babbles (sends
// more than the computer asked for).
package virtual
