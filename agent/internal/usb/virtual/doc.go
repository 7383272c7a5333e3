// Package virtual is a bus of devices in software: for demonstrations, for
// tests, and for machines that have no USB at all. They behave as hardware
// does: endpoints NAK until they have something to say, stall, halt, babble.
package virtual
