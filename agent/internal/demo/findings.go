package demo

import "github.com/easyfind-usb/easyfind/proto/ident"

// Findings are what a demo has found out, for programs.
type Findings struct {
	OK         bool    `json:"ok"`
	Problem    string  `json:"problem,omitempty"`
	Seconds    float64 `json:"seconds"` // the whole demo
	Rendezvous string  `json:"rendezvous"`
	Host       Agent   `json:"host"`
	Client     Agent   `json:"client"`
	Pairing    Pairing `json:"pairing"`
	// InKernel says that the client's kernel had the disk, by vhci_hcd;
	// otherwise WhyNot says why it was read at the client's USB/IP endpoint.
	InKernel bool     `json:"in_kernel"`
	WhyNot   string   `json:"why_not_in_kernel,omitempty"`
	Path     Path     `json:"path"`
	Disk     Disk     `json:"disk"`
	Keyboard Keyboard `json:"keyboard"`
	Checks   []Check  `json:"checks"`
}

// Agent is one end.
type Agent struct {
	Name string       `json:"name"`
	ID   ident.PeerID `json:"id"`
}

// Pairing is how the two got to know each other.
type Pairing struct {
	Address ident.Address `json:"address"` // good once: it is used up
	Seconds float64       `json:"seconds"` // from typing the PIN to both being paired
}

// Path is the link that carried the devices.
type Path struct {
	Rank      string  `json:"rank"`
	Transport string  `json:"transport"`
	Local     string  `json:"local"`
	Remote    string  `json:"remote"`
	Relay     string  `json:"relay,omitempty"`
	Encrypted bool    `json:"encrypted"`
	Why       string  `json:"why"`
	RTTMillis float64 `json:"rtt_ms"`  // smoothed, after the disk was read
	Loss      float64 `json:"loss"`    // of packets, 0 to 1
	Seconds   float64 `json:"seconds"` // to make the link and list what the far end shares
}

// Disk is what was read of the disk.
type Disk struct {
	Where         string      `json:"where"`          // a device file, or an address and a bus id
	AttachSeconds float64     `json:"attach_seconds"` // from asking for it to having it
	Bytes         int64       `json:"bytes"`
	BlockSize     uint32      `json:"block_size"`
	Table         string      `json:"partition_table"` // "MBR" or "GPT"
	Partitions    []Partition `json:"partitions"`
	Seconds       float64     `json:"seconds"` // reading all blocks once
	BytesPerSec   float64     `json:"bytes_per_second"`
	SHA256        string      `json:"sha256"`
	SourceSHA256  string      `json:"source_sha256"`
	// LinkBytes is what the link brought meanwhile; 0 if it was replaced by
	// another in the middle.
	LinkBytes uint64 `json:"link_bytes"`
}

// Partition is a partition of the disk.
type Partition struct {
	Number int    `json:"number"`
	First  uint64 `json:"first_block"`
	Blocks uint64 `json:"blocks"`
	Type   string `json:"type"`
	Name   string `json:"name,omitempty"`
}

// Keyboard is what the keyboard typed and what arrived.
type Keyboard struct {
	Typed   string `json:"typed"`
	Arrived string `json:"arrived"`
	Reports int    `json:"reports"` // each a change of keys
}

// Check is one thing that had to be so.
type Check struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // if it was not
}
