// Package diagnosis checks whether the agent can use its rendezvous from its place
// in the network.
package diagnosis

import (
	"context"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/call"
)

// timeout bounds a diagnosis: a person waits for it.
const timeout = 30 * time.Second

// Diagnosis examines the rendezvous and the network.
type Diagnosis struct {
	Rendezvous *rvclient.Client // nil: none
	// ProbeNAT finds out which kind of NAT is between this machine and the internet.
	ProbeNAT func(context.Context) (call.NAT, error)
	// DiskDelay returns how long this kernel waits before it uses a new disk.
	DiskDelay func() time.Duration
}

// Examine returns what it finds, for up to half a minute. It uses the registration
// and the relay credentials of the agent.
func (d Diagnosis) Examine(ctx context.Context) []doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if d.Rendezvous == nil {
		found := []doctor.Finding{doctor.Note("rendezvous", "give its join link with --rendezvous",
			"none is set: peers are reached at their direct addresses only")}
		return append(found, d.examineDisks()...)
	}
	s := d.Rendezvous.State()
	found := []doctor.Finding{doctor.Good("rendezvous", "%s", s)}
	if !s.Connected {
		found[0] = doctor.Bad("rendezvous", "see the lines below", "%s", s)
	}
	found = append(found, d.examineNAT(ctx))
	found = append(found, d.examineDisks()...)
	return append(found, doctor.Outside(ctx, doctor.Target{
		Link: d.Rendezvous.Server(), Credentials: d.credentials,
	})...)
}

func (d Diagnosis) credentials(ctx context.Context) (api.RelayCredentials, error) {
	s, err := d.Rendezvous.RelayServers(ctx)
	return api.RelayCredentials{Username: s.Username, Password: s.Password, URIs: s.TURN, Expires: s.Expires}, err
}

// examineDisks reports the wait of the kernel, which is longer than everything else until
// a remote disk can be read. It is a setting of the whole machine, so the agent does not
// change it.
func (d Diagnosis) examineDisks() []doctor.Finding {
	delay := d.DiskDelay()
	if delay == 0 {
		return nil
	}
	return []doctor.Finding{doctor.Note("disks",
		"`echo 0 > /sys/module/usb_storage/parameters/delay_use` as root makes remote disks usable earlier. "+
			"It also concerns disks that are plugged in here, some of which need the time to start",
		"this kernel waits %v until it uses a new USB disk", delay)}
}

func (d Diagnosis) examineNAT(ctx context.Context) doctor.Finding {
	const check = "this network"
	nat, err := d.ProbeNAT(ctx)
	switch {
	case err != nil:
		return doctor.Note(check, "", "not probed: %v", err)
	case nat.UDPBlocked:
		return doctor.Note(check,
			"allow outgoing UDP if you manage this network: without it, links use TURN over TCP or TLS and are slower",
			"%s", nat.Explain())
	case nat.Mapping == call.MappingDependent:
		return doctor.Note(check,
			"links to peers behind such a NAT are relayed; a port mapping (UPnP, NAT-PMP) or IPv6 avoids that",
			"%s", nat.Explain())
	}
	return doctor.Good(check, "%s", nat.Explain())
}
