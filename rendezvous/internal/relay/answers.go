package relay

import (
	"encoding/binary"
	"time"
)

// maxLifetime is how long an allocation lasts without a word of its client's
// (RFC 5766 section 2.2). The TURN server would give an hour to who asks.
const maxLifetime = 10 * time.Minute

// verdict is why a request that was authenticated is refused, where the TURN
// server's answer does not say it as it should.
type verdict struct {
	code   int
	reason string
}

var (
	allowed      = verdict{}
	forbidden    = verdict{403, "Forbidden"}                    // RFC 5766 section 9.2
	wrongUser    = verdict{441, "Wrong Credentials"}            // section 4
	wrongFamily  = verdict{443, "Peer Address Family Mismatch"} // RFC 6156 section 6.2
	quotaReached = verdict{486, "Allocation Quota Reached"}     // section 6.2
	noCapacity   = verdict{508, "Insufficient Capacity"}        // sections 6.2 and 9.2
	badRequest   = verdict{400, "Bad Request"}                  // section 9.2
)

// answer returns what is sent in place of p, an answer of the TURN server to
// the request that it is handling.
func (d *door) answer(p []byte) []byte {
	m := message(p)
	if len(m) < stunHeader || !isSTUN(m) {
		return p
	}
	why := d.verdict
	d.verdict = allowed
	switch kind := m.kind(); {
	case kind == createPermissionError && why == allowed && m.find(attrErrorCode) == nil:
		why = badRequest
	case kind&classMask == classError:
	case kind == channelBindSuccess:
		if c := d.conn(d.login.from); c != nil {
			c.bind(d.channel)
		}
		return p
	case kind == allocateSuccess || kind == refreshSuccess:
		return d.granted(m)
	default:
		return p
	}
	if why == allowed {
		return p
	}
	refusal := newMessage(m.kind(), m).addError(why.code, why.reason)
	if why != wrongUser {
		refusal = refusal.addIntegrity(d.login.key)
	}
	return refusal
}

// granted bounds the lifetime of an allocation and begins it anew.
func (d *door) granted(m message) []byte {
	c := d.conn(d.login.from)
	value := m.find(attrLifetime)
	if c == nil || len(value) != 4 {
		return m
	}
	life := time.Duration(binary.BigEndian.Uint32(value)) * time.Second
	if most := d.relay.table.life; life > most {
		life = most
		binary.BigEndian.PutUint32(value, uint32(most/time.Second))
		end := len(m) - channelHeader - integrity // it is the last attribute
		m = m[:end:end].addIntegrity(d.login.key)
	}
	if life > 0 {
		c.expire(life)
	}
	return m
}
