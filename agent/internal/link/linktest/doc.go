// Package linktest is the contract that every kind of link passes, and a link
// in memory for the tests of those who use links.
//
// [Run] holds a kind of link to what [link.Link] promises; [Pair] makes the
// link in memory, which is held to it too.
package linktest
