package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func (s *server) registerAdminPeers() {
	notFound := []api.Code{api.CodePeerNotFound}
	mount(s, http.MethodGet, api.PathAdminPeers, operation{id: "list-peers", summary: "All peers, ordered by ID"}, s.listPeers)
	mount(s, http.MethodGet, api.PathAdminPeer, operation{id: "read-peer", summary: "A peer, allowed or not", codes: notFound}, s.adminPeer)
	mount(s, http.MethodPatch, api.PathAdminPeer, operation{
		id: "rename-peer", summary: "Give a peer a name that stays until it changes it itself",
		codes: slices.Concat(withBody, notFound, []api.Code{api.CodeVersionNeeded, api.CodeChanged}),
	}, s.renamePeer)
	mount(s, http.MethodDelete, api.PathAdminPeer, operation{
		id: "revoke-peer", summary: "Send a peer away: its connections end within seconds, and it may not register again",
		codes: slices.Concat(notFound, []api.Code{api.CodeChanged}),
	}, s.revokePeer)
	mount(s, http.MethodGet, api.PathRevocations, operation{id: "list-revocations", summary: "The revoked peers, the earliest revoked first"}, s.listRevocations)
	mount(s, http.MethodDelete, api.PathRevocation, operation{
		id: "readmit-peer", summary: "Let a revoked peer register again, as a new one", codes: notFound,
	}, s.readmitPeer)
}

type peersInput struct {
	Paging
	Name string `query:"name" maxLength:"64" doc:"only peers whose name holds this, whatever the case of its ASCII letters" example:"workshop"`
}

func (s *server) listPeers(ctx context.Context, in *peersInput) (*output[api.AdminPeers], error) {
	after, err := in.peer()
	if err != nil {
		return nil, err
	}
	q := registry.PeerQuery{After: after, Limit: in.Limit + 1, Name: in.Name}
	all, err := s.cfg.Registry.Peers(ctx, q)
	all, next := cut(all, in.Limit, func(p registry.PeerAt) string { return p.ID.String() })
	list := api.AdminPeers{Peers: []api.AdminPeer{}, Next: next}
	for _, p := range all {
		list.Peers = append(list.Peers, wirePeer(p))
	}
	return &output[api.AdminPeers]{list}, err
}

// peer reads the after of a list that is ordered by peers' IDs.
func (in Paging) peer() (ident.PeerID, error) {
	if in.After == "" {
		return ident.PeerID{}, nil
	}
	id, err := ident.ParsePeerID(in.After)
	if err != nil {
		return id, errCursor
	}
	return id, nil
}

func wirePeer(p registry.PeerAt) api.AdminPeer {
	w := api.AdminPeer{ID: p.ID, Name: p.Name, Created: p.Created.UTC(), Version: p.Version}
	if p.At != nil {
		w.Online, w.OnlineSince, w.Instance = true, p.At.Since.UTC(), p.At.Instance
	} else if !p.Seen.IsZero() {
		w.LastSeen = p.Seen.UTC()
	}
	return w
}

// taggedPeer is a peer and its version.
type taggedPeer struct {
	ETag string `header:"ETag" doc:"for If-Match of a change"`
	Body api.AdminPeer
}

func tagged(p registry.PeerAt) *taggedPeer {
	return &taggedPeer{ETag: strconv.Quote(strconv.FormatInt(p.Version, 10)), Body: wirePeer(p)}
}

func (s *server) adminPeer(ctx context.Context, in *InPeer) (*taggedPeer, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	p, err := s.cfg.Registry.PeerAt(ctx, id)
	return tagged(p), err
}

// InVersion is the version that a change is for.
type InVersion struct {
	IfMatch string `header:"If-Match" maxLength:"32" doc:"the ETag that was read, or * for whatever is there" example:"\"3\""`
}

// version reads the header (RFC 9110 section 13.1.1); 0 is any.
func (in InVersion) version() (int64, error) {
	if in.IfMatch == "" || in.IfMatch == "*" {
		return 0, nil
	}
	text, ok := strings.CutPrefix(in.IfMatch, `"`)
	text, closed := strings.CutSuffix(text, `"`)
	v, err := strconv.ParseInt(text, 10, 64)
	if !ok || !closed || err != nil || v < 1 {
		return 0, invalid("header.If-Match", "not an ETag of a peer: a number in quotes, or *")
	}
	return v, nil
}

type renamePeerInput struct {
	InPeer
	InVersion
	Body api.PeerChange
}

func (s *server) renamePeer(ctx context.Context, in *renamePeerInput) (*taggedPeer, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	if in.IfMatch == "" {
		return nil, api.NewProblem(api.CodeVersionNeeded)
	}
	p, err := s.cfg.Registry.NamePeer(ctx, id, in.Body.Name, version)
	return tagged(p), err
}

type revokePeerInput struct {
	InPeer
	InVersion
}

func (s *server) revokePeer(ctx context.Context, in *revokePeerInput) (*nothing, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.RevokePeer(ctx, id, version)
}

// number reads the after of a list that is ordered by numbers.
func (in Paging) number() (int64, error) {
	if in.After == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(in.After, 10, 64)
	if err != nil || n < 1 {
		return 0, errCursor
	}
	return n, nil
}

func (s *server) listRevocations(ctx context.Context, in *Paging) (*output[api.Revocations], error) {
	since, err := in.number()
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Registry.Revocations(ctx, since, in.Limit+1)
	all, next := cut(all, in.Limit, func(r registry.Revocation) string { return strconv.FormatInt(r.Number, 10) })
	list := api.Revocations{Revocations: []api.Revocation{}, Next: next}
	for _, r := range all {
		list.Revocations = append(list.Revocations, api.Revocation{Peer: r.Peer, Name: r.Name, At: r.At.UTC()})
	}
	return &output[api.Revocations]{list}, err
}

func (s *server) readmitPeer(ctx context.Context, in *InPeer) (*nothing, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Registry.Readmit(ctx, id)
}
