package listener

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

// headerBuffer is the number of bytes that are read at once with a PROXY header. The parser bounds the header itself:
// to 107 bytes in version 1, and to 4112 in version 2.
const headerBuffer = 256

var errNoHeader = errors.New("no PROXY protocol header came, with which every connection from a network of " +
	"--proxy-protocol begins: let the load balancer send one, or remove its network from the list")

// readHeader reads the PROXY protocol header, version 1 or 2, with which a load balancer names its client. It returns
// the client's address, and the bytes that were read after the header. The address is nil if the connection is the
// balancer's own, such as a health check.
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

// isHeader reports whether the first bytes of a connection begin a PROXY header. It needs 5 bytes.
func isHeader(first []byte) bool {
	return len(first) >= 5 && (bytes.HasPrefix(first, proxyproto.SIGV1) || bytes.HasPrefix(first, proxyproto.SIGV2[:5]))
}
