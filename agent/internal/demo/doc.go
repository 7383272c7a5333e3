// Package demo shows EasyFind at work on one machine. It runs a rendezvous and two
// agents as separate processes and pairs the agents. One agent shares a disk and a
// keyboard made of software, and the other agent uses them. The demo reads both
// devices there, and checks everything that it reports.
package demo
