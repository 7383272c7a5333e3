// Package dtls replaces github.com/pion/dtls/v2. The ICE and STUN libraries need
// that module only for TURN over DTLS, and the agent refuses such servers. The
// module has a vulnerability (CVE-2026-26014) that is fixed only in its version 3,
// which the libraries do not use. So go.mod replaces it with this package. The
// vulnerable code is then not in the binary, scanners of binaries find nothing, and
// the vulnerability check needs no exception. The disadvantage: "go install
// ...@version" refuses a module with a replacement. Build from the source tree or
// install a package.
package dtls

import (
	"context"
	"errors"
	"net"
)

// ErrNone is the error of all functions.
var ErrNone = errors.New("this program does not support DTLS")

// Config has the fields that the libraries set.
type Config struct {
	ServerName         string
	InsecureSkipVerify bool
}

// Conn is the type of a connection. No connection is ever made.
type Conn struct{ net.Conn }

// Client returns ErrNone.
func Client(net.Conn, *Config) (*Conn, error) { return nil, ErrNone }

// ClientWithContext returns ErrNone.
func ClientWithContext(context.Context, net.Conn, *Config) (*Conn, error) { return nil, ErrNone }
