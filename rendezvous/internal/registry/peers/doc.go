// Package peers holds the peers of a rendezvous: how they register and leave,
// which peer may find and signal which other, and how an administrator invites,
// approves, names and revokes them.
//
//	Registration  challenge, proof of the key, admission
//	Directory     authentication, lookup, names
//	AllowList     permissions to find and signal
//	Invites       codes that let new peers register
//	Approvals     peers that may register once without an invite
//	JoinRequests  peers that were refused because they had no invite
//	Revocations   peers that may not come back
//	Counter       number of registered peers
package peers
