package front

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

// headerBuffer bounds what is read at once with a PROXY header, in bytes. The
// header is bounded by its parser: 107 bytes in version 1, 4112 in version 2.
const headerBuffer = 256

var errNoHeader = errors.New("no PROXY protocol header came, with which every connection from a network of --proxy-protocol begins: let the load balancer send one, or take its network off the list")

// readHeader reads the PROXY protocol header, version 1 or 2, by which a load
// balancer tells for whom it connects. It returns the source that the header
// names, nil for a connection of the balancer's own such as a health check, and
// what was read beyond the header.
func readHeader(from io.Reader) (source *net.TCPAddr, early []byte, err error) {
	in := bufio.NewReaderSize(from, headerBuffer)
	h, err := proxyproto.Read(in)
	switch {
	case errors.Is(err, proxyproto.ErrNoProxyProtocol):
		return nil, nil, errNoHeader
	case err != nil:
		return nil, nil, fmt.Errorf("PROXY protocol header: %w", err)
	}
	if beyond, _ := in.Peek(in.Buffered()); len(beyond) > 0 {
		early = bytes.Clone(beyond)
	}
	if h.Command.IsLocal() {
		return nil, early, nil
	}
	if _, err := addressOf(h.SourceAddr); err != nil {
		return nil, nil, fmt.Errorf("PROXY protocol header: %w", err)
	}
	return h.SourceAddr.(*net.TCPAddr), early, nil
}

// claims reports whether what somebody sends first is a PROXY header; 5 bytes
// tell.
func claims(first []byte) bool {
	return len(first) >= 5 && (bytes.HasPrefix(first, proxyproto.SIGV1) || bytes.HasPrefix(first, proxyproto.SIGV2[:5]))
}
