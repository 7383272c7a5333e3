package demo

import "github.com/easyfind-usb/easyfind/proto/ident"

// Findings are the results of a demo, for programs.
type Findings struct {
	OK         bool    `json:"ok"`
	Problem    string  `json:"problem,omitempty"`
	Seconds    float64 `json:"seconds"` // of the whole demo
	Rendezvous string  `json:"rendezvous"`
	Host       Agent   `json:"host"`
	Client     Agent   `json:"client"`
	Pairing    Pairing `json:"pairing"`
	// InKernel reports whether the disk was attached to this kernel by vhci_hcd. If
	// not, WhyNot is the reason, and the disk was read through USB/IP.
	InKernel bool     `json:"in_kernel"`
	WhyNot   string   `json:"why_not_in_kernel,omitempty"`
	Path     Path     `json:"path"`
	Disk     Disk     `json:"disk"`
	Keyboard Keyboard `json:"keyboard"`
	Checks   []Check  `json:"checks"`
}

// Agent identifies one of the two agents.
type Agent struct {
	Name string       `json:"name"`
	ID   ident.PeerID `json:"id"`
}

// Pairing describes the pairing of the agents.
type Pairing struct {
	Address ident.Address `json:"address"` // no longer valid: it can be used once
	Seconds float64       `json:"seconds"` // from typing the PIN until both agents are paired
}

// Path describes the link that carried the devices.
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
	Seconds   float64 `json:"seconds"` // to make the link and list the devices
}

// Disk describes the disk as the laptop read it.
type Disk struct {
	Where         string      `json:"where"`          // a device file, or a bus id and an address
	AttachSeconds float64     `json:"attach_seconds"` // from the request until the disk is attached
	Bytes         int64       `json:"bytes"`
	BlockSize     uint32      `json:"block_size"`
	Table         string      `json:"partition_table"` // "MBR" or "GPT"
	Partitions    []Partition `json:"partitions"`
	Seconds       float64     `json:"seconds"` // to read all blocks once
	BytesPerSec   float64     `json:"bytes_per_second"`
	SHA256        string      `json:"sha256"`
	SourceSHA256  string      `json:"source_sha256"`
	// LinkBytes is the number of bytes that the link received while the disk was
	// read. 0: another link replaced it meanwhile.
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

// Keyboard compares the text that the keyboard typed with the text that arrived.
type Keyboard struct {
	Typed   string `json:"typed"`
	Arrived string `json:"arrived"`
	Reports int    `json:"reports"` // each reports a change of the pressed keys
}

// Check is the result of one check.
type Check struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // of a failed check
}
