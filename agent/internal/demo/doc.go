// Package demo shows EasyFind at work on one machine: it runs a rendezvous and
// two agents as processes of their own, pairs the agents, lends a disk and a
// keyboard made of software from one to the other, reads both from the far end,
// and checks everything that it says.
package demo
