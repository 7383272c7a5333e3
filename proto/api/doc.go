// Package api is the contract of the rendezvous's REST interface: its routes, its
// resources with the bound of every field, and the table of error codes. The OpenAPI
// document that the server offers at [PathOpenAPI] is made from these types.
//
// # Registration
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
//	  ├────────────────────────────────────────►│  signed with the key, see
//	  │ RegisterResult{id, token}               │  Registration.Sign
//	  │◄────────────────────────────────────────┤
//
// The signature covers the exporter of the TLS connection that carries it (RFC 9266).
// A signature that was made for one connection is invalid on every other connection.
//
// If a reverse proxy ends TLS, there is no TLS connection between the peer and the
// server. Then bind is "origin", and the signature covers the server's address as the
// peer dialled it, under a separate signature purpose. The server accepts such a
// signature only from the networks of the proxies that its operator lists, and
// requires the exporter from all other clients. In both cases a challenge is valid
// once. The operator of the proxy at that address can register the peer there, as the
// operator of the server can. It can register the peer nowhere else, and it does not
// learn the key.
//
// A closed server, which is the default, registers a new peer only with an invite, or
// if an administrator has approved the peer's ID.
//
// All requests below require "Authorization: Bearer TOKEN". A peer that registers again
// with the same key needs no invite; it receives a new token, and its old token becomes
// invalid. So a peer whose answer was lost can simply try again.
//
// # Finding peers
//
// A peer can be found only by the peers that it allows: PUT
// /v1/peers/self/allowed/{id} allows the peer id to find and signal the caller.
// GET /v1/peers/{id} gives the same answer, byte for byte, for a peer that is unknown and
// for a peer that does not allow the caller.
//
// # Pairing
//
// A mailbox carries the messages of a PAKE between two peers that do not know each other
// yet. The rendezvous forwards and counts the messages, and learns nothing from them.
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
// A mailbox accepts [MaxTries] tries and refuses all further ones; it is then called
// burned. A message that is sent twice gets the same answer twice, so requests may be
// repeated.
//
// # Administration
//
// All requests below /v1/admin require the token of an administrator; its [Scope]s
// determine what it permits. The first token comes from the one-time link that a server
// prints as long as it has no administrator. A token with the scope admin can create
// further tokens. The server stores only digests of tokens, invites and links. A secret
// that is lost cannot be shown again; a new one must be created.
//
//   - A list comes in pages. The field next of a page is the parameter after of the
//     following page. It is absent on the last page.
//   - A request that creates a token or an invite may be repeated with the same
//     Idempotency-Key. The answer is the same, including the secret, as long as the token or
//     invite is kept. The server refuses the key with a different request.
//   - The ETag of a peer is its version. PATCH requires it as If-Match, or * to change any
//     version. DELETE accepts it.
//   - A revocation may be repeated with the same answer.
//   - The signalling and relayed connections of a revoked peer end at every instance
//     within five seconds. Its key cannot register again until the peer is readmitted.
//
// # Requests
//
// A body is JSON in UTF-8 of at most [MaxBody] bytes, with the Content-Type
// application/json. Unknown fields and parameters are refused, and so are known names in
// other capitals. HEAD is answered like GET. If a URL path does not take a method, the
// header Allow lists the methods that it takes.
//
// # Limits
//
// Each instance counts requests on its own. A source is an IPv4 address or an IPv6 /64. A
// source may make 60 challenges, 30 registrations and 6 tries to pair per minute. On an
// open server a source may register one new peer per minute after the first 20. Failed
// tokens are limited too. A peer may make 600 requests per minute. Requests above a limit
// are answered with 429. Answers with 429 or 503 have a Retry-After header with a partly
// random time.
package api
