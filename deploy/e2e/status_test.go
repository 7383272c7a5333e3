package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// JSON documents of the command line, as far as the tests read them.
type (
	status struct {
		Rendezvous struct {
			Connected bool
			Detail    string
		}
		NAT     string
		Peers   []peerStatus
		Uses    []use
		Exports []struct{ Device, Peer string }
	}
	peerStatus struct {
		Name        string
		Session     string
		Up          bool
		Link        *link
		WhyNoBetter string `json:"why_no_better"`
	}
	link struct {
		Rank, Transport, Local, Remote, Relay string
		Encrypted                             bool
		BytesSent                             uint64 `json:"bytes_sent"`
		BytesReceived                         uint64 `json:"bytes_received"`
	}
	use struct {
		ID, Peer, Device, State, Reason string
		Endpoint                        bool
		Port                            int
		BusID                           string `json:"bus_id"`
		Address                         string
		Stages                          []stage
	}
	stage struct {
		WriteCache bool  `json:"write_cache"`
		Cached     int64 `json:"bytes_cached"`
		Unwritten  int64 `json:"bytes_unwritten"`
		Unsaved    int64 `json:"bytes_unsaved"`
	}
	device struct {
		ID, Name, Serial, Kind string
		InUse                  string `json:"in_use"`
		UsedBy                 string `json:"used_by"`
	}
)

// status returns the agent's status.
func (a *agent) status(t *testing.T) status {
	t.Helper()
	var s status
	a.must(t, &s, "status")
	return s
}

// peer waits until the session with a peer is up over a link that satisfies wanted, and
// returns its status.
func (a *agent) peer(t *testing.T, name string, within time.Duration, wanted func(peerStatus) bool) peerStatus {
	t.Helper()
	var found peerStatus
	eventually(t, within, func(ctx context.Context) error {
		raw, err := a.run(ctx, "status")
		if err != nil {
			return err
		}
		var s status
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		for _, p := range s.Peers {
			if p.Name == name && p.Up && p.Link != nil && wanted(p) {
				found = p
				return nil
			}
		}
		return fmt.Errorf("agent %s has no such link with %s: %s", a.name, name, raw)
	})
	t.Logf("%s → %s: %s over %s, %s → %s; why no better: %s", a.name, name,
		found.Link.Rank, found.Link.Transport, found.Link.Local, found.Link.Remote, found.WhyNoBetter)
	return found
}

// has waits until holds returns true for the agent's status.
func (a *agent) has(t *testing.T, within time.Duration, what string, holds func(status) bool) {
	t.Helper()
	eventually(t, within, func(ctx context.Context) error {
		raw, err := a.run(ctx, "status")
		if err != nil {
			return err
		}
		var s status
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		if !holds(s) {
			return fmt.Errorf("agent %s: want %s: %s", a.name, what, raw)
		}
		return nil
	})
}

// device returns the device of the agent's machine whose name contains word.
func (a *agent) device(t *testing.T, word string) device {
	t.Helper()
	var all []device
	a.must(t, &all, "devices")
	for _, d := range all {
		if strings.Contains(strings.ToLower(d.Name), strings.ToLower(word)) {
			return d
		}
	}
	t.Fatalf("agent %s has no device %q: %+v", a.name, word, all)
	return device{}
}

// use uses a device and waits until it is attached.
func (a *agent) use(t *testing.T, peer, device string, flags ...string) use {
	t.Helper()
	var u use
	a.must(t, &u, append([]string{"use", peer, device}, flags...)...)
	if u.State != "attached" {
		t.Fatalf("agent %s uses %s of %s: %+v", a.name, device, peer, u)
	}
	return u
}
