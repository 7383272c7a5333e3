// Package api is the contract of the rendezvous' REST interface: its routes,
// its resources with the bound of every field, and the table of error codes.
// The served OpenAPI document at [PathOpenAPI] is made from these types.
//
// # Becoming known
//
//	peer                                   rendezvous
//	  │ POST /v1/challenges                     │
//	  ├────────────────────────────────────────►│
//	  │ Challenge{challenge, expires, bind}     │  single use, 2 minutes
//	  │◄────────────────────────────────────────┤
//	  │ POST /v1/peers                          │
//	  │ Registration{challenge, key, name,      │
//	  │   invite, bound or origin, expires,     │
//	  │   signature}                            │
//	  ├────────────────────────────────────────►│  the key signs it, see
//	  │ Registered{id, token}                   │  Registration.Sign
//	  │◄────────────────────────────────────────┤
//
// The signature is bound to the TLS connection that carries it, by its exporter
// (RFC 9266): what was signed for one connection is worth nothing on another.
// Where a reverse proxy ends TLS there is no connection from end to end. There
// bind is "origin", and the signature covers the server's address as the peer
// dialled it, under another purpose. A server takes that only from the networks
// of the proxies that its operator lists, and of everyone else the exporter;
// the challenge is good once in either case. Whoever ends TLS at that address
// could register the peer there, as the operator could; nowhere else, and it
// does not learn the key.
//
// A closed server, which is the default, registers a new peer with an invite, or
// without one if an administrator has approved its ID.
//
// Everything below wants "Authorization: Bearer TOKEN". Registering again with
// the same key needs no invite, gives a new token and ends the old one, so that
// a peer whose answer was lost simply tries again.
//
// # Who finds whom
//
// A peer is found only by those whom it allows: PUT /v1/peers/self/allowed/{id}
// says "id may find and signal me". GET /v1/peers/{id} of a peer that is
// unknown and of one that does not allow the caller get the same answer, byte
// for byte.
//
// # Pairing
//
// A mailbox carries the messages of a PAKE between two peers that do not know
// each other yet. The rendezvous forwards and counts; it learns nothing.
//
//	owner                    rendezvous                     other peer
//	  │ POST /v1/mailboxes       │                               │
//	  ├─────────────────────────►│                               │
//	  │ Mailbox{address}         │     (the person types it)     │
//	  │◄─────────────────────────┤                               │
//	  │                          │ POST /v1/mailboxes/{a}/tries  │
//	  │ GET …/tries?wait=25      │◄──────────────────────────────┤ opening
//	  │◄─────────────────────────┤ Try{number}                   │
//	  │                          ├──────────────────────────────►│
//	  │ PUT …/tries/{n}/answer   │ GET …/tries/{n}?wait=25       │
//	  ├─────────────────────────►├──────────────────────────────►│
//	  │ GET …/tries/{n}?wait=25  │ PUT …/tries/{n}/confirmation  │
//	  │◄─────────────────────────┤◄──────────────────────────────┤
//	  │ DELETE /v1/mailboxes/{a} │                               │
//	  ├─────────────────────────►│                               │
//
// A mailbox takes [MaxTries] tries and then no more: it is burned. Sending the
// same message again is answered as the first time, so that requests may be
// repeated.
//
// # Administration
//
// Everything below /v1/admin wants the token of an administrator, whose [Scope]s
// say what it covers. The first token comes of the one-time link that a server
// prints while nobody administers it; further ones are made with a token of the
// scope admin. Tokens, invites and links are kept as digests: what is lost
// cannot be shown again, only made anew.
//
//   - A list comes in pages: next of one is after of the following one, and is
//     absent on the last.
//   - Making a token or an invite may be repeated with the same Idempotency-Key:
//     the answer is the one before, the secret too, for as long as what was made
//     is kept. With another request the key is refused.
//   - A peer's ETag is its version. PATCH wants it as If-Match, or * to overwrite
//     whatever is there; DELETE takes it.
//   - Revoking may be repeated: what is revoked already is answered as the first
//     time.
//   - A revoked peer's signalling and relayed connections end at every instance
//     within five seconds, and its key may not register until it is readmitted.
//
// # Requests
//
// A body is JSON in UTF-8 of at most [MaxBody] bytes, and Content-Type says
// application/json. Fields and parameters that the document does not have are
// refused, also those that it spells with other capitals. HEAD is answered as
// GET is, and a method that an address does not take by what it takes, in Allow.
//
// # Limits
//
// Each instance counts for itself, by IPv4 address or IPv6 /64: 60 challenges a
// minute, 30 registrations, on an open server one new peer a minute after the
// first 20, 6 tries of pairings, and failed tokens; and for each peer 600
// requests a minute. Beyond that the answer is 429. With 429 and 503 comes a
// Retry-After that differs a little for everyone.
package api
