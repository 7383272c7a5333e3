package signal

import "encoding/binary"

// Features is a set of what a rendezvous understands beyond the first version of
// the protocol, a bit for each.
//
// A peer that knows of any asks with a [Ping] whose token is [AskFeatures]. A
// rendezvous that knows of any answers with Features before the [Pong], one that
// does not with the Pong alone; it is asked on each connection, for two
// instances may be of different versions. What is not offered is not sent.
type Features uint64

// The features.
const (
	FeaturePaths Features = 1 << 0 // takes Path
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
