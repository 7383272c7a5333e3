// Package e2e tests EasyFind with whole machines: two guests with a real kernel and
// emulated USB devices, each behind its own NAT, and a rendezvous on the public side. It
// runs the programs of the users through their command line. It checks what users rely on:
// files arrive complete, the kernel sees no unplug, no device stays claimed.
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
// It needs root and the packages that lab and guest name. A test that cannot run is skipped
// with the reason; EASYFIND_E2E_MUST_RUN=1 turns that into a failure. The first run
// downloads a kernel (70 MB) into the user's cache directory.
package e2e
