package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// adminPeerHandler lets administrators read, rename and revoke peers.
type adminPeerHandler struct {
	peers       PeerAdmin
	revocations Revocations
}

func (h *adminPeerHandler) mount(e *endpoints) {
	notFound := []api.Code{api.CodePeerNotFound}
	mount(e, http.MethodGet, api.PathAdminPeers, operation{
		id: "list-peers", summary: "List all peers, ordered by ID",
	}, h.list)
	mount(e, http.MethodGet, api.PathAdminPeer, operation{
		id: "read-peer", summary: "Get a peer, whether or not it allows anyone", codes: notFound,
	}, h.get)
	mount(e, http.MethodPatch, api.PathAdminPeer, operation{
		id: "rename-peer", summary: "Rename a peer; it keeps the name until it changes its name itself",
		codes: slices.Concat(withBody, notFound, []api.Code{api.CodeVersionNeeded, api.CodeChanged}),
	}, h.rename)
	mount(e, http.MethodDelete, api.PathAdminPeer, operation{
		id: "revoke-peer", summary: "Revoke a peer: its connections end within seconds, and it cannot register again",
		codes: slices.Concat(notFound, []api.Code{api.CodeChanged}),
	}, h.revoke)
}

// revocationHandler lists and readmits revoked peers.
type revocationHandler struct{ revocations Revocations }

func (h *revocationHandler) mount(e *endpoints) {
	notFound := []api.Code{api.CodePeerNotFound}
	mount(e, http.MethodGet, api.PathRevocations, operation{
		id: "list-revocations", summary: "List the revoked peers, in the order of their revocation",
	}, h.list)
	mount(e, http.MethodDelete, api.PathRevocation, operation{
		id: "readmit-peer", summary: "Allow a revoked peer to register again as a new peer", codes: notFound,
	}, h.readmit)
}

type peersInput struct {
	PageQuery
	Name string `query:"name" maxLength:"64" doc:"a part of the name; case of ASCII is ignored" example:"workshop"`
}

func (h *adminPeerHandler) list(ctx context.Context, in *peersInput) (*output[api.AdminPeers], error) {
	after, err := in.peer()
	if err != nil {
		return nil, err
	}
	q := peers.Query{After: after, Limit: in.Limit + 1, Name: in.Name}
	all, err := h.peers.Peers(ctx, q)
	all, next := cut(all, in.Limit, func(p peers.PeerStatus) string { return p.ID.String() })
	list := api.AdminPeers{Peers: []api.AdminPeer{}, Next: next}
	for _, p := range all {
		list.Peers = append(list.Peers, wirePeer(p))
	}
	return &output[api.AdminPeers]{list}, err
}

// peer reads the cursor of a list that is ordered by PeerID.
func (in PageQuery) peer() (ident.PeerID, error) {
	if in.After == "" {
		return ident.PeerID{}, nil
	}
	id, err := ident.ParsePeerID(in.After)
	if err != nil {
		return id, errCursor
	}
	return id, nil
}

func wirePeer(p peers.PeerStatus) api.AdminPeer {
	w := api.AdminPeer{ID: p.ID, Name: p.Name, Created: p.Created.UTC(), Version: p.Version}
	if p.At != nil {
		w.Online, w.OnlineSince, w.Instance = true, p.At.Since.UTC(), p.At.Instance
	} else if !p.Seen.IsZero() {
		w.LastSeen = p.Seen.UTC()
	}
	return w
}

// taggedPeer is a peer with its version as an ETag.
type taggedPeer struct {
	ETag string `header:"ETag" doc:"send it as If-Match with a change"`
	Body api.AdminPeer
}

func tagged(p peers.PeerStatus) *taggedPeer {
	return &taggedPeer{ETag: strconv.Quote(strconv.FormatInt(p.Version, 10)), Body: wirePeer(p)}
}

func (h *adminPeerHandler) get(ctx context.Context, in *PeerParam) (*taggedPeer, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	p, err := h.peers.PeerStatus(ctx, id)
	return tagged(p), err
}

// VersionHeader is the version of the peer that a change applies to.
type VersionHeader struct {
	IfMatch string `header:"If-Match" maxLength:"32" doc:"the ETag of the version to change, or *" example:"\"3\""`
}

// version parses the header (RFC 9110 section 13.1.1); 0 stands for any version.
func (in VersionHeader) version() (int64, error) {
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
	PeerParam
	VersionHeader
	Body api.PeerChange
}

func (h *adminPeerHandler) rename(ctx context.Context, in *renamePeerInput) (*taggedPeer, error) {
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
	p, err := h.peers.NamePeer(ctx, id, in.Body.Name, version)
	return tagged(p), err
}

type revokePeerInput struct {
	PeerParam
	VersionHeader
}

func (h *adminPeerHandler) revoke(ctx context.Context, in *revokePeerInput) (*empty, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return nil, h.revocations.RevokePeer(ctx, id, version)
}

// number reads the cursor of a list that is ordered by number.
func (in PageQuery) number() (int64, error) {
	if in.After == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(in.After, 10, 64)
	if err != nil || n < 1 {
		return 0, errCursor
	}
	return n, nil
}

func (h *revocationHandler) list(ctx context.Context, in *PageQuery) (*output[api.Revocations], error) {
	since, err := in.number()
	if err != nil {
		return nil, err
	}
	all, err := h.revocations.Revocations(ctx, since, in.Limit+1)
	all, next := cut(all, in.Limit, func(r peers.Revocation) string { return strconv.FormatInt(r.Number, 10) })
	list := api.Revocations{Revocations: []api.Revocation{}, Next: next}
	for _, r := range all {
		list.Revocations = append(list.Revocations, api.Revocation{Peer: r.Peer, Name: r.Name, At: r.At.UTC()})
	}
	return &output[api.Revocations]{list}, err
}

func (h *revocationHandler) readmit(ctx context.Context, in *PeerParam) (*empty, error) {
	id, err := in.peer()
	if err != nil {
		return nil, err
	}
	return nil, h.revocations.Readmit(ctx, id)
}
