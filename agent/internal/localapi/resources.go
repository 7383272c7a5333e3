package localapi

import (
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Device is a USB device of this machine.
type Device struct {
	ID        string `json:"id"` // bus id, "2-1"
	Name      string `json:"name"`
	VendorID  uint16 `json:"vendor_id"`
	ProductID uint16 `json:"product_id"`
	Serial    string `json:"serial,omitempty"`
	Speed     string `json:"speed,omitempty"` // "480 Mbit/s"
	Kind      string `json:"kind,omitempty"`  // "disk", "keyboard": its class, in a person's words
	Backend   string `json:"backend,omitempty"`
	// InUse says why this machine needs the device itself; empty if it is free.
	InUse string `json:"in_use,omitempty"`
	// Share is how it is shared, nil if it is not.
	Share *Share `json:"share,omitempty"`
	// UsedBy is the name of the peer that has it now.
	UsedBy string `json:"used_by,omitempty"`
}

// Share is a permission to use a device.
type Share struct {
	Device string    `json:"device"` // the selector: bus id, vid:pid or serial
	With   []string  `json:"with"`   // names of peers; empty: all paired ones
	Force  bool      `json:"force"`
	Until  time.Time `json:"until,omitzero"`
}

// ShareRequest shares a device.
type ShareRequest struct {
	Device string    `json:"device"`
	With   []string  `json:"with,omitempty"` // names or IDs
	Force  bool      `json:"force,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// Peer is a peer that this machine is paired with.
type Peer struct {
	ID        ident.PeerID `json:"id"`
	Name      string       `json:"name"`
	PairedAt  time.Time    `json:"paired_at"`
	Addresses []string     `json:"addresses,omitempty"` // dialed directly: tls://host:7574
	Connected bool         `json:"connected"`
}

// ReachRequest sets where a peer is dialed directly; no address clears it.
type ReachRequest struct {
	Peer      string   `json:"peer"`
	Addresses []string `json:"addresses"`
}

// RemoteDevice is a device that a peer shares with this machine.
type RemoteDevice struct {
	Peer      string `json:"peer"` // its name
	ID        string `json:"id"`
	Name      string `json:"name"`
	VendorID  uint16 `json:"vendor_id"`
	ProductID uint16 `json:"product_id"`
	Serial    string `json:"serial,omitempty"`
	Speed     string `json:"speed,omitempty"`
	Kind      string `json:"kind,omitempty"`
	InUseBy   string `json:"in_use_by,omitempty"` // a peer's name, or what the host does with it
	Used      bool   `json:"used"`                // by this machine
}

// UseRequest asks for a far device.
type UseRequest struct {
	Peer     string `json:"peer"`
	Device   string `json:"device"`
	Endpoint bool   `json:"endpoint,omitempty"` // on the loopback USB/IP server, not in this kernel
}

// UseState is where a use is in its life.
//
//	connecting ──► waiting ◄──► attached
//	     │            │
//	     └────────────┴───────► failed
type UseState string

// The states of a use.
const (
	UseConnecting UseState = "connecting" // the link or the device is being opened
	UseAttached   UseState = "attached"   // the device is there
	UseWaiting    UseState = "waiting"    // for the peer or the device to come back
	UseFailed     UseState = "failed"     // and will not be tried again by itself
)

// Use is a far device that this machine uses or wants to.
type Use struct {
	ID       string    `json:"id"` // what "release" takes, as "peer/2-1"
	Peer     string    `json:"peer"`
	Device   string    `json:"device"`
	Name     string    `json:"name,omitempty"`
	State    UseState  `json:"state"`
	Reason   string    `json:"reason,omitempty"` // why waiting or failed
	Endpoint bool      `json:"endpoint"`
	Port     int       `json:"port"`              // vhci port; -1 if none
	BusID    string    `json:"bus_id,omitempty"`  // on the loopback server
	Address  string    `json:"address,omitempty"` // of the loopback server
	Since    time.Time `json:"since,omitzero"`    // of this state
}

// Offered is an EasyFind address that waits for the other machine.
type Offered struct {
	Address ident.Address `json:"address"`
	PIN     ident.PIN     `json:"pin"`
	Expires time.Time     `json:"expires"`
}

// JoinRequest pairs with the machine that offers an address.
type JoinRequest struct {
	Address ident.Address `json:"address"`
	PIN     ident.PIN     `json:"pin"`
}

// Event is one line of an operation that takes its time. One field is set.
type Event[T any] struct {
	Progress *Progress `json:"progress,omitempty"`
	Result   *T        `json:"result,omitempty"`
	Problem  *Problem  `json:"problem,omitempty"`
}

// Progress is what a person may like to know meanwhile.
type Progress struct {
	Message string   `json:"message,omitempty"` // "connecting to workshop"
	Offered *Offered `json:"offered,omitempty"` // an address to type on the other machine
}
