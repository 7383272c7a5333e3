// Package dtls stands in for github.com/pion/dtls/v2, which the ICE and STUN
// libraries want for one thing alone: TURN over DTLS. That module has a flaw
// (CVE-2026-26014) that is mended in its third version only, which they do not
// take, and the agent refuses servers over DTLS anyway. So go.mod puts this in its
// place, and what is not there cannot be reached, by whatever way: scanners that look
// at what a binary is made of find nothing, and the check for known flaws needs no
// list of exceptions. The price is that "go install ...@version" refuses a module
// with a replacement: build from the source tree, or install a package.
package dtls

import (
	"context"
	"errors"
	"net"
)

// ErrNone is the error of every attempt.
var ErrNone = errors.New("this program has no DTLS")

// Config is what the libraries set.
type Config struct {
	ServerName         string
	InsecureSkipVerify bool
}

// Conn is a connection that there never is.
type Conn struct{ net.Conn }

// Client fails.
func Client(net.Conn, *Config) (*Conn, error) { return nil, ErrNone }

// ClientWithContext fails.
func ClientWithContext(context.Context, net.Conn, *Config) (*Conn, error) { return nil, ErrNone }
