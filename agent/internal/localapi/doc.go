// Package localapi is the API between the command line and the agent on the same
// machine: HTTP and JSON over a unix socket. Only the user of the agent and root may
// open the socket.
//
//	GET    /v1/status                        → Status
//	GET    /v1/doctor                        → []doctor.Finding
//	GET    /v1/devices                       → []Device
//	POST   /v1/shares          ShareRequest  → Share
//	DELETE /v1/shares?device=                   unshare
//	GET    /v1/peers                         → []Peer
//	DELETE /v1/peers?peer=                      forget
//	PUT    /v1/peers/addresses ReachRequest  → Peer
//	PUT    /v1/peers/limit     LimitRequest  → Peer
//	GET    /v1/remote-devices?peer=          → []RemoteDevice; without peer=: of all peers
//	POST   /v1/uses            UseRequest    ⇒ Use
//	DELETE /v1/uses?use=                        release
//	POST   /v1/pairings/offer                ⇒ Peer
//	POST   /v1/pairings/join   JoinRequest   ⇒ Peer
//
// Names of devices, peers and uses are in queries and bodies, because a serial
// number may contain any character.
//
// ⇒ marks an operation that takes long. Its response is a stream of [Event], one
// JSON object per line. The last event contains the result or the problem. The agent
// cancels the operation when the client hangs up. The body of every other response
// with a status of 400 or more is a [Problem].
package localapi
