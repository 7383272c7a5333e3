package pebbletest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveDNS runs a DNS server over TCP (RFC 1035 sections 4.1 and 4.2.2) until the
// test ends, and returns its address. It answers one query on each connection.
func serveDNS(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(requestTimeout))
				var length [2]byte
				if _, err := io.ReadFull(conn, length[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(conn, query); err != nil {
					return
				}
				if reply := answer(query); reply != nil {
					conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

const typeA = 1

// answer returns the reply to a query for addresses, or nil if the query is
// malformed.
func answer(query []byte) []byte {
	const header = 12
	if len(query) < header+5 {
		return nil
	}
	end, name := header, ""
	for end < len(query) && query[end] != 0 {
		label := int(query[end])
		if end+1+label >= len(query) {
			return nil
		}
		name += string(query[end+1:end+1+label]) + "."
		end += 1 + label
	}
	if end+5 > len(query) {
		return nil
	}
	question := query[header : end+5]
	reply := append(bytes.Clone(query[:2]), 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0) // flags: an authoritative response
	reply = append(reply, question...)
	switch {
	case !strings.HasSuffix(strings.ToLower(name), ".test.") || strings.HasPrefix(name, "nowhere."):
		reply[3] |= 3 // no such name
	case binary.BigEndian.Uint16(question[len(question)-4:]) == typeA:
		reply[7] = 1
		reply = append(reply, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1)
	}
	return reply
}

// certificate writes a certificate of the authority's web servers and its key.
func certificate(certFile, keyFile string, servers ...netip.AddrPort) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, server := range servers {
		template.IPAddresses = append(template.IPAddresses, server.Addr().AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, public, 0o600); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}
