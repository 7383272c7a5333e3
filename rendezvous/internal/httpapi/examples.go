package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// addExamples copies the fields of the examples below into the schemas of the OpenAPI
// document. It leaves out fields that refer to other schemas, which have examples of their
// own.
func addExamples(schemas huma.Registry) error {
	id, err := ident.ParsePeerID("K7S3PMV-NNEWXH3-LDOYVYW-4E6Z6NW-XWJDMQR-O4RQSTJ-KJZN6UI-FC64PQS")
	if err != nil {
		return fmt.Errorf("examples of the OpenAPI document: %w", err)
	}
	for _, example := range slices.Concat(peerExamples(id), adminExamples(id), figureExamples(id)) {
		raw, err := json.Marshal(example)
		if err != nil {
			return fmt.Errorf("examples of the OpenAPI document: %w", err)
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("examples of the OpenAPI document: %w", err)
		}
		schema := schemas.Map()[schemaName(reflect.TypeOf(example), "")]
		if schema == nil {
			return fmt.Errorf("examples of the OpenAPI document: no schema of %T", example)
		}
		for name, value := range fields {
			if p := schema.Properties[name]; p.Ref == "" && (p.Items == nil || p.Items.Ref == "") {
				p.Examples = []any{value}
			}
		}
	}
	return nil
}

const day = 24 * time.Hour

// at returns the time of the examples plus a duration.
func at(after time.Duration) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(after)
}

// bytesOf decodes base64.
func bytesOf(text string) []byte {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err) // cannot happen: the texts are constants
	}
	return raw
}

// peerExamples returns an example of each resource that peers use.
func peerExamples(id ident.PeerID) []any {
	return []any{
		api.Server{
			Name: "Home", Version: "1.0.0", Region: "eu-west", SignalALPN: "easyfind/1",
			SignalPath: "/v1/signal", STUN: []string{"stun:rv.example.org:3478"},
			TURN: []string{"turn:rv.example.org:3478?transport=udp"}, Open: false,
		},
		api.Challenge{
			Challenge: bytesOf("9Zt4qB1W3n0pXkVdU7hQmgAAAABl4fzAE8tQ5m4aY3P0b2lSg0JkKw=="),
			Expires:   at(2 * time.Minute), Bind: api.BindTLS,
		},
		api.Registration{
			Challenge: bytesOf("9Zt4qB1W3n0pXkVdU7hQmgAAAABl4fzAE8tQ5m4aY3P0b2lSg0JkKw=="),
			PublicKey: bytesOf("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="), Name: "Workshop PC",
			Invite: "Zk1TqYcVhAuN2d0rG8Xw3s", Bound: true, Origin: "https://rendezvous.example.org:443",
			Expires: at(2 * time.Minute),
			Signature: bytesOf("hJmNaNY5KZ1MzUOB3kbE3fHDjYRIk7SM4LGSZQzBNXvt" +
				"Un3u4vqnPRsn7EhYMqnJzAbbJhnNDwSDFwFkRyEGCw=="),
		},
		api.RegisterResult{
			ID: id, Name: "Workshop PC",
			Token: "ef_BgTzZUyk7NutD5R7g5LXs4ZlJO5NAhA7aDBwCtLYJEANtzHnz0HgiQ",
		},
		api.Peer{
			ID: id, PublicKey: bytesOf("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="),
			Name: "Workshop PC", Created: at(0), Online: true,
		},
		api.PeerChange{Name: "Workshop PC"},
		api.Allowance{Peer: id, Since: at(0)},
		api.Mailbox{Address: "2D2-D23", Expires: at(2 * time.Minute), Tries: 3},
		api.Message{Body: bytesOf("aGVsbG8=")},
		api.Try{
			Number: 1, Peer: id, Opening: bytesOf("aGVsbG8="), Answer: bytesOf("d29ybGQ="),
			Confirmation: bytesOf("ZG9uZQ=="),
		},
		api.RelayCredentials{
			Username: "1772366520:" + id.String() + ":9f0c2b7d41aa35e6",
			Password: "kJm0Q2QmX7Jc1yTqPZr9sVw4hDdL6gE1aBQnwwrfUGq",
			URIs:     []string{"turn:rv.example.org:3478?transport=udp"}, Expires: at(2 * time.Minute),
		},
		api.Field{Location: "body.name", Message: "expected length >= 1"},
		api.Problem{
			Type: "about:blank", Title: "Forbidden", Status: 403, Code: api.CodeInvite,
			Detail: "the invite is unknown, used up, revoked or expired: ask the server's operator for a new one",
		},
	}
}

// adminExamples returns an example of each resource that administrators use.
func adminExamples(id ident.PeerID) []any {
	return []any{
		api.AdminLinkUse{Code: "uN2d0rG8Xw3sZk1TqYcVhA", Label: "Ada's phone"},
		api.AdminTokenRequest{
			Label: "helpdesk", Scopes: []api.Scope{api.ScopePeers, api.ScopeInvites}, Seconds: 2592000,
		},
		api.AdminToken{
			ID: "9f0c2b7d41aa35e6", Token: "efa_nwwrfUGqNeZ3uBzv0m8kJm0Q2QmX7Jc1yTqPZr9sVw4hDdL6gE1aBQ",
			Label: "helpdesk", Scopes: []api.Scope{api.ScopePeers, api.ScopeInvites}, Created: at(0),
			Expires: at(90 * day), Revoked: false, SignIn: false,
		},
		api.AdminTokens{Next: "AAABnKy2aACfDCt9Qao15g"},
		api.InviteRequest{Label: "the workshop", Uses: 1, Seconds: 86400},
		api.Invite{
			ID: "51c3a8d0e27f9b64", Code: "Zk1TqYcVhAuN2d0rG8Xw3s", Label: "the workshop", Uses: 1,
			Used: 0, Created: at(0), Expires: at(day), Revoked: false,
		},
		api.Invites{Next: "AAABnKy2aACfDCt9Qao15g"},
		api.AdminPeer{
			ID: id, Name: "Workshop PC", Created: at(0), Version: 3, Online: true, OnlineSince: at(0),
			Instance: "rv-1-9f0c2b7d", LastSeen: at(0),
		},
		api.AdminPeers{Next: id.String()},
		api.Revocation{Peer: id, Name: "Lost laptop", At: at(0)},
		api.Revocations{Next: "42"},
		api.JoinRequest{Peer: id, Source: "192.0.2.7", Last: at(0)},
		api.Approval{Peer: id, Expires: at(7 * day)},
		api.Approvals{Next: id.String()},
		api.Event{
			Number: 4711, At: at(0), Kind: "peer_revoked", Actor: "admin 9f0c2b7d41aa35e6", Peer: id,
			Other: id, Source: "192.0.2.7", Detail: "Lost laptop", Count: 1,
		},
		api.Events{Next: "4711"},
	}
}

// figureExamples returns an example of each resource with figures.
func figureExamples(id ident.PeerID) []any {
	return []any{
		api.History{Seconds: 300},
		api.HistoryPoint{
			At: at(0), Peers: 204, PairsDirect: 61, PairsRelayed: 7, RelayBytes: 1048576,
			RelayPackets: 900, Registrations: 2, Refusals: 0,
		},
		api.Instance{
			Name: "rv-1-9f0c2b7d", Region: "eu-west", Address: "10.0.0.7:7579", Epoch: 17,
			Until: at(5 * time.Second), Peers: 204, Version: "1.0.0",
		},
		api.Load{
			At: at(0), PairsDirect: 61, PairsRelayed: 7, RelayBytes: 1048576, RelayPackets: 900,
			Registrations: 2, Refusals: 0,
		},
		api.Pair{
			Peer: id, Name: "Workshop PC", Other: id, OtherName: "Laptop", Path: "direct",
			Transport: "udp", RTTMillis: 23, Since: at(0),
		},
		api.Pairs{Next: pairCursor(ident.PeerID{0: 1}, ident.PeerID{0: 2})},
		api.PeerRelayUse{
			Peer: id, Name: "Workshop PC", SentBytes: 1048576, SentPackets: 900, ReceivedBytes: 65536,
			ReceivedPackets: 850,
		},
		api.RelayDay{
			Day: "2026-03-01", SentBytes: 1048576, SentPackets: 900, ReceivedBytes: 65536,
			ReceivedPackets: 850,
		},
	}
}
