// Package linktest tests that a kind of link keeps the contract of [link.Link],
// and provides a link in memory for tests of the users of links. [Run] checks the
// contract. [Pair] makes the link in memory, which keeps the contract too.
package linktest
