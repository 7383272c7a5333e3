// Package rvsync keeps two things at the rendezvous up to date: the list of peers
// that may find this agent, and the reports on the links that this agent uses.
package rvsync
