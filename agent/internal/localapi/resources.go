package localapi

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Device is a USB device of this machine.
type Device struct {
	ID        string `json:"id"` // the bus id, such as "2-1"
	Name      string `json:"name"`
	VendorID  uint16 `json:"vendor_id"`
	ProductID uint16 `json:"product_id"`
	Serial    string `json:"serial,omitempty"`
	Speed     string `json:"speed,omitempty"` // "480 Mbit/s"
	Kind      string `json:"kind,omitempty"`  // its class in plain words: "disk", "keyboard"
	Backend   string `json:"backend,omitempty"`
	// InUse is the reason why this machine needs the device itself. Empty: it does not.
	InUse string `json:"in_use,omitempty"`
	// Share is nil if the device is not shared.
	Share *Share `json:"share,omitempty"`
	// UsedBy is the name of the peer that holds the device. Empty: no peer does.
	UsedBy string `json:"used_by,omitempty"`
}

// Share is the permission for peers to use a device.
type Share struct {
	Device string    `json:"device"` // a selector: bus id, vid:pid or serial number
	With   []string  `json:"with"`   // names of peers; empty: all paired peers
	Force  bool      `json:"force"`
	Until  time.Time `json:"until,omitzero"`
}

// ShareRequest asks the agent to share a device; see [Share].
type ShareRequest struct {
	Device string    `json:"device"`
	With   []string  `json:"with,omitempty"` // names or IDs of peers
	Force  bool      `json:"force,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// Peer is a peer that this machine is paired with.
type Peer struct {
	ID        ident.PeerID `json:"id"`
	Name      string       `json:"name"`
	PairedAt  time.Time    `json:"paired_at"`
	Addresses []string     `json:"addresses,omitempty"` // direct addresses, such as tls://host:7574
	Connected bool         `json:"connected"`
	Limit     uint64       `json:"limit,omitempty"` // that this machine sets, of each direction, in bits per second
}

// ReachRequest replaces the direct addresses of a peer. It may contain none.
type ReachRequest struct {
	Peer      string   `json:"peer"`
	Addresses []string `json:"addresses"`
}

// LimitRequest caps the rate at which this machine and a peer send to each other, in bits per second; 0 removes the
// limit.
type LimitRequest struct {
	Peer  string `json:"peer"`
	Limit uint64 `json:"limit"`
}

// RemoteDevice is a device that a peer shares with this machine.
type RemoteDevice struct {
	Peer      string `json:"peer"` // the name of the peer
	ID        string `json:"id"`
	Name      string `json:"name"`
	VendorID  uint16 `json:"vendor_id"`
	ProductID uint16 `json:"product_id"`
	Serial    string `json:"serial,omitempty"`
	Speed     string `json:"speed,omitempty"`
	Kind      string `json:"kind,omitempty"`
	InUseBy   string `json:"in_use_by,omitempty"` // the name of a peer, or the reason why the host needs it
	Used      bool   `json:"used"`                // this machine uses it
}

// UseRequest asks the agent to use a remote device.
type UseRequest struct {
	Peer   string `json:"peer"`
	Device string `json:"device"`
	// Endpoint exports the device on the loopback USB/IP server, instead of attaching
	// it to this kernel.
	Endpoint bool `json:"endpoint,omitempty"`
	// NoAcceleration passes all transfers unchanged.
	NoAcceleration bool `json:"no_acceleration,omitempty"`
	// WriteCache answers writes to a disk before the disk has the data.
	WriteCache bool `json:"write_cache,omitempty"`
	// Limit caps the rate of each direction, in bits per second; 0 is no limit.
	Limit uint64 `json:"limit,omitempty"`
}

// UseState is the state of a use.
//
//	connecting ──► waiting ◄──► attached
//	     │            │
//	     └────────────┴───────► failed
type UseState string

// The states of a use.
const (
	UseConnecting UseState = "connecting" // before the first attachment
	UseAttached   UseState = "attached"   // this machine has the device
	UseWaiting    UseState = "waiting"    // the peer or the device is not there
	UseFailed     UseState = "failed"     // the agent does not try again
)

// Use is a remote device that this machine uses, or tries to use.
type Use struct {
	ID       string    `json:"id"` // for "release", such as "peer/2-1"
	Peer     string    `json:"peer"`
	Device   string    `json:"device"`
	Name     string    `json:"name,omitempty"`
	State    UseState  `json:"state"`
	Reason   string    `json:"reason,omitempty"` // why it is waiting or failed
	Endpoint bool      `json:"endpoint"`
	Port     int       `json:"port"`              // of vhci_hcd; -1: none
	BusID    string    `json:"bus_id,omitempty"`  // on the loopback server
	Address  string    `json:"address,omitempty"` // of the loopback server
	Limit    uint64    `json:"limit,omitempty"`   // of each direction, in bits per second; 0: none
	Since    time.Time `json:"since,omitzero"`    // of this state
	// Stages are the accelerations that are made for the device. It is empty for a device
	// without one, and while the device is not attached.
	Stages []Stage `json:"stages,omitempty"`
}

// Stage is an acceleration of a used device, which hides the distance to it.
type Stage struct {
	Name      string `json:"name"`
	Unit      string `json:"unit"`            // of the counts: "commands" of a disk, "reports", "transfers"
	Off       string `json:"off,omitempty"`   // why it is off; empty: it is on
	Commands  int64  `json:"commands"`        // units handled
	Hits      int64  `json:"hits"`            // units answered without a round trip of their own
	Ahead     int64  `json:"bytes_ahead"`     // read ahead
	Discarded int64  `json:"bytes_discarded"` // of these, not used
	// Of audio and video packets:
	Late      int64 `json:"packets_late,omitempty"`      // arrived too late
	Lost      int64 `json:"packets_lost,omitempty"`      // never arrived
	Recovered int64 `json:"packets_recovered,omitempty"` // were lost and computed from parity
	// Of a disk with a write cache:
	WriteCache bool  `json:"write_cache,omitempty"`     // writes are answered before the disk has the data
	Cached     int64 `json:"bytes_cached,omitempty"`    // written in this way
	Unwritten  int64 `json:"bytes_unwritten,omitempty"` // of these, the disk does not have them yet
	Unsaved    int64 `json:"bytes_unsaved,omitempty"`   // of these, the disk will never have them
}

// Offer is an EasyFind address that the other machine can join.
type Offer struct {
	Address ident.Address `json:"address"`
	PIN     ident.PIN     `json:"pin"`
	Expires time.Time     `json:"expires"`
}

// JoinRequest asks the agent to pair with the machine that offers the address.
type JoinRequest struct {
	Address ident.Address `json:"address"`
	PIN     ident.PIN     `json:"pin"`
}

// Event is one line of the response of a long operation. One field is set.
type Event[T any] struct {
	Progress *Progress `json:"progress,omitempty"`
	Result   *T        `json:"result,omitempty"`
	Problem  *Problem  `json:"problem,omitempty"`
}

// Progress informs a person who waits for an operation. One field is set.
type Progress struct {
	Message string `json:"message,omitempty"` // "connecting to workshop"
	Offered *Offer `json:"offered,omitempty"` // to be typed on the other machine
}
