package tunnel

import (
	"encoding/json"
	"fmt"
)

// Bounds of a Hello.
const (
	MaxFeatures = 32 // features
	MaxWord     = 64 // bytes of one feature
)

// FeatureChooses is the feature of an agent that may send on a link of lower rank, because it carries more. It keeps a
// link on which its peer does so.
const FeatureChooses = "chooses-link"

// Hello is the first frame of each peer on a link; see the package comment.
type Hello struct {
	Version     int      `json:"version"`
	Features    []string `json:"features,omitempty"` // that the sender has beyond the version, at most MaxFeatures
	Incarnation uint64   `json:"incarnation"`        // never 0
	Peer        uint64   `json:"peer,omitempty"`     // 0: belongs to no peer yet
	// These order the link among the links of the session. The agent that dialed sends them, the other one leaves them
	// out.
	Rank       uint8  `json:"rank,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
	LinkID     uint64 `json:"link,omitempty"`
	// Limit is the rate at which either peer may send to the other, in bits per second; 0 is no limit. The lower one of
	// both peers counts. A Hello with another limit may be sent again at any time.
	Limit uint64 `json:"limit,omitempty"`
	// Lanes are the numbers that the sender expects next, of every lane on which it has received a frame; at most
	// MaxLanes.
	Lanes []LaneNext `json:"lanes,omitempty"`
}

// LaneNext is the number of the frame of a lane that its sender expects next. All frames before it have arrived.
type LaneNext struct {
	Lane Lane   `json:"lane"`
	Next uint64 `json:"next"`
}

// Encode returns the body of a KindHello frame.
func (h Hello) Encode() []byte { return encodeJSON(h) }

// DecodeHello reads the body of a KindHello frame. Of a Hello of another version it returns the version only, which the
// caller has to compare.
func DecodeHello(body []byte) (Hello, error) {
	var version struct {
		Version int `json:"version"`
	}
	if err := decodeJSON("Hello", body, &version); err != nil {
		return Hello{}, err
	}
	if version.Version != Version {
		return Hello{Version: version.Version}, nil
	}
	var h Hello
	if err := decodeJSON("Hello", body, &h); err != nil {
		return Hello{}, err
	}
	if h.Incarnation == 0 {
		return Hello{}, malformed("Hello without an incarnation")
	}
	if len(h.Features) > MaxFeatures || len(h.Lanes) > MaxLanes {
		return Hello{}, malformed("Hello with %d features and %d lanes", len(h.Features), len(h.Lanes))
	}
	for _, f := range h.Features {
		if len(f) > MaxWord {
			return Hello{}, malformed("Hello with a feature of %d bytes", len(f))
		}
	}
	for _, l := range h.Lanes {
		if !l.Lane.valid() || l.Lane == LaneLink || l.Next == 0 {
			return Hello{}, malformed("Hello expects number %d on lane %#x", l.Next, uint32(l.Lane))
		}
	}
	return h, nil
}

// encodeJSON returns the JSON form of a message whose type always has one.
func encodeJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("tunnel: %T has no JSON form: %v", v, err))
	}
	return b
}

func decodeJSON(message string, body []byte, v any) error {
	if len(body) > MaxControl {
		return malformed("%s of %d bytes, at most %d", message, len(body), MaxControl)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return malformed("%s: %v", message, err)
	}
	return nil
}
