package relay

import (
	"encoding/binary"
	"time"

	"github.com/pion/stun"
)

// maxLifetime is the time for which an allocation lasts without a refresh (RFC 5766 section 2.2). The TURN server would
// allow an hour.
const maxLifetime = 10 * time.Minute

// refusal is the reason why a request is refused, where the TURN server's answer has another error code.
type refusal struct {
	code   stun.ErrorCode
	reason string
}

var (
	accepted     = refusal{}
	forbidden    = refusal{stun.CodeForbidden, "Forbidden"}                                 // RFC 5766 section 9.2
	wrongUser    = refusal{stun.CodeWrongCredentials, "Wrong Credentials"}                  // section 4
	wrongFamily  = refusal{stun.CodePeerAddrFamilyMismatch, "Peer Address Family Mismatch"} // RFC 6156 section 6.2
	quotaReached = refusal{stun.CodeAllocQuotaReached, "Allocation Quota Reached"}          // section 6.2
	noCapacity   = refusal{stun.CodeInsufficientCapacity, "Insufficient Capacity"}          // sections 6.2 and 9.2
	badRequest   = refusal{stun.CodeBadRequest, "Bad Request"}                              // section 9.2
)

// correct returns the answer to send in place of p, the answer of the TURN server to the current request.
func (c *control) correct(p []byte) []byte {
	var m stun.Message
	if !decode(&m, p) {
		return p
	}
	why := c.refusal
	c.refusal = accepted
	switch {
	case m.Type == createPermissionError && why == accepted && value(&m, stun.AttrErrorCode) == nil:
		why = badRequest
	case m.Type.Class == stun.ClassErrorResponse:
	case m.Type == channelBindSuccess:
		if a := c.turn.allocation(c.login.client); a != nil {
			a.permissions.bind(c.channel, c.turn.relay.now())
		}
		return p
	case m.Type == allocateSuccess || m.Type == refreshSuccess:
		return c.capLifetime(&m)
	default:
		return p
	}
	if why == accepted {
		return p
	}
	var answer stun.Message
	begin(&answer, m.Type, m.TransactionID)
	add(&answer, stun.ErrorCodeAttribute{Code: why.code, Reason: []byte(why.reason)})
	if why != wrongUser {
		add(&answer, c.login.key)
	}
	return answer.Raw
}

// capLifetime bounds the lifetime that an answer grants, and extends the allocation by it.
func (c *control) capLifetime(m *stun.Message) []byte {
	a := c.turn.allocation(c.login.client)
	granted := value(m, stun.AttrLifetime)
	if a == nil || len(granted) != 4 {
		return m.Raw
	}
	lifetime := time.Duration(binary.BigEndian.Uint32(granted)) * time.Second
	p := m.Raw
	if most := c.turn.relay.table.lifetime; lifetime > most {
		lifetime = most
		p = c.withLifetime(m, most)
	}
	if lifetime > 0 {
		a.expire(lifetime)
	}
	return p
}

// withLifetime returns a copy of a message with another lifetime and a new MAC.
func (c *control) withLifetime(m *stun.Message, lifetime time.Duration) []byte {
	var answer stun.Message
	begin(&answer, m.Type, m.TransactionID)
	for _, a := range m.Attributes {
		switch a.Type {
		case stun.AttrMessageIntegrity, stun.AttrFingerprint:
		case stun.AttrLifetime:
			answer.Add(a.Type, binary.BigEndian.AppendUint32(nil, uint32(lifetime/time.Second)))
		default:
			answer.Add(a.Type, a.Value)
		}
	}
	add(&answer, c.login.key)
	return answer.Raw
}
