package agent

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/call"
)

// doctorTime bounds what a person waits for.
const doctorTime = 30 * time.Second

// Doctor implements localapi.Backend: it looks at the rendezvous from where this
// agent is, with its own registration, key and credentials.
func (a *Agent) Doctor(ctx context.Context) ([]doctor.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	client := a.rendezvous
	if client == nil {
		return []doctor.Finding{doctor.Open("rendezvous", "give its join link with --rendezvous", "none is set: peers are reached at their direct addresses only")}, nil
	}
	s := client.State()
	found := []doctor.Finding{doctor.Good("rendezvous", "%s", s)}
	if !s.Connected {
		found[0] = doctor.Bad("rendezvous", "see the lines below", "%s", s)
	}
	found = append(found, a.network.examineNAT(ctx))
	return append(found, doctor.Outside(ctx, doctor.Target{
		Link: client.Server(),
		Credentials: func(ctx context.Context) (api.RelayCredentials, error) {
			servers, err := client.RelayServers(ctx)
			return api.RelayCredentials{Username: servers.Username, Password: servers.Password, URIs: servers.TURN, Expires: servers.Expires}, err
		},
	})...), nil
}

// examineNAT asks what stands between this machine and the internet.
func (n *network) examineNAT(ctx context.Context) doctor.Finding {
	const check = "this network"
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	servers, err := n.turn(ctx)
	if err != nil {
		return doctor.Open(check, "", "not probed: %v", err)
	}
	nat, err := n.paths.Probe(ctx, servers)
	switch {
	case err != nil:
		return doctor.Open(check, "", "not probed: %v", err)
	case nat.UDPBlocked:
		return doctor.Open(check, "let UDP out, if it is yours: without it paths are slower, through TURN over TCP or TLS", "%s", nat.Explain())
	case nat.Mapping == call.MappingDependent:
		return doctor.Open(check, "paths to peers behind such a NAT too are relayed; a port mapping (UPnP, NAT-PMP) or IPv6 helps", "%s", nat.Explain())
	}
	return doctor.Good(check, "%s", nat.Explain())
}
