// Package registry holds what the packages below it and the stores share:
// errors with their REST codes, digests, tokens, pages, shared secrets and the
// periodic sweep.
//
// The data of a rendezvous is split by noun. Each package declares the small
// stores that it needs; package pgstore and package sqlitestore implement them.
//
//	peers           registration, lookup, names, allow lists, invites, approvals, revocation
//	mailboxes       pairing
//	administration  administrators' tokens, sign-ins and the one-time link
//	audit           the audit log and the count of refusals
//	presence        leases of instances, connections of peers, link reports
//	history         figures by the minute, relayed bytes by the day
//	blobs           small values and locks that instances share
//
// None of them has a clock or a database of its own: both are parameters.
//
// The contract of every store: each method is safe for concurrent use, takes
// effect completely or not at all, and receives the current time where time
// matters. Times are kept to the millisecond. A failure of the database itself
// (unreachable, full, read-only) wraps [ErrUnavailable]; the other errors are
// those that the method's comment names.
package registry
