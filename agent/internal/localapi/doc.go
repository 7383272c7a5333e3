// Package localapi is how the command line talks to the agent that runs on the
// same machine: HTTP and JSON over a unix socket that only the agent's user (and
// root) may open.
//
//	GET    /v1/status                        → Status
//	GET    /v1/doctor                        → []doctor.Finding
//	GET    /v1/devices                       → []Device
//	POST   /v1/shares          ShareRequest  → Share
//	DELETE /v1/shares?device=                   unshare
//	GET    /v1/peers                         → []Peer
//	DELETE /v1/peers?peer=                      forget
//	PUT    /v1/peers/addresses ReachRequest  → Peer
//	GET    /v1/remote-devices?peer=          → []RemoteDevice, of every peer without one
//	POST   /v1/uses            UseRequest    ⇒ Use
//	DELETE /v1/uses?use=                        release
//	POST   /v1/pairings/offer                ⇒ Peer
//	POST   /v1/pairings/join   JoinRequest   ⇒ Peer
//
// Names of devices, peers and uses are in queries and bodies, since a serial
// number may hold any character.
//
// ⇒ is an answer that takes its time: a stream of [Event], one JSON object a
// line, whose last one has the result or the problem. Who hangs up gives the
// operation up. Every other answer of status 400 and more is a [Problem].
package localapi
