package signal

import "encoding/binary"

// Features is the set of features that a rendezvous has in addition to the first version of the protocol, one bit each.
//
// A peer that can use any of them asks with a [Ping] whose token is [AskFeatures]. A rendezvous that has any answers
// with Features before the [Pong]. A rendezvous of the first version answers with Pong alone. The peer asks on each
// connection, because two instances may have different versions. It does not send messages whose feature was not
// offered.
type Features uint64

// The features.
const (
	FeatureLinkReports Features = 1 << 0 // accepts LinkReport
)

// AskFeatures is the token of the Ping that asks for [Features].
var AskFeatures = [tokenSize]byte{'f', 'e', 'a', 't', 'u', 'r', 'e', 's'}

const featuresSize = 8

func (Features) fromRendezvous() {}

func (m Features) appendFrame(b []byte) []byte {
	return binary.BigEndian.AppendUint64(appendHeader(b, KindFeatures, featuresSize), uint64(m))
}

func decodeFeatures(body []byte) (Features, error) {
	if err := exactly("Features", body, featuresSize); err != nil {
		return 0, err
	}
	return Features(binary.BigEndian.Uint64(body)), nil
}
