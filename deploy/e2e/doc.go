// Package e2e tests EasyFind with whole machines: two guests with a real kernel
// and emulated USB devices, each behind its own NAT, and a rendezvous on the
// public side. The programs are the ones that users run, driven by their command
// line; what is checked is what users rely on: files arrive whole, the kernel
// sees no unplug, nothing stays claimed.
//
//	          rendezvous 198.51.100.10
//	                  │
//	    ┌─────── the internet ───────┬───────────────┐
//	NAT 203.0.113.10          NAT 203.0.113.20   NAT 203.0.113.30
//	    │                            │               │
//	guest s (host)            guest c (client)   o, a process of this machine
//	192.168.1.2               192.168.2.2        192.168.3.2
//	disk, keyboard, serial    vhci_hcd
//
// It needs root, and the packages that lab and guest name. A test that cannot
// run says why and is skipped; with EASYFIND_E2E_MUST_RUN=1 that is a failure.
// The first run downloads a kernel (70 MB) into the user's cache directory.
package e2e
