// Package policy decides what the users of a relay may do: which addresses they may reach ([Addresses]), which
// credentials are valid ([Authority]), and how many answers a client gets before it has authenticated ([AnswerLimit]).
// It knows nothing of sockets or of the TURN protocol.
package policy
