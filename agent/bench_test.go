package agent_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/link/quiclink"
	"github.com/easyfind-usb/easyfind/agent/internal/link/tcplink"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/guard"
	"github.com/easyfind-usb/easyfind/agent/internal/stage/isochronous"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual/virtualtest"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// BenchmarkRemoteDisk reads a software disk through every layer between a remote
// device and its user: a session, a link on loopback, and USB/IP. All runs in one
// process without a network, so that the result is processor time. "local" has no
// session and no link.
func BenchmarkRemoteDisk(b *testing.B) {
	for _, layers := range []struct {
		name string
		wrap func(*testing.B, usb.Device) usb.Device
	}{
		{"local", func(_ *testing.B, dev usb.Device) usb.Device { return dev }},
		{"quic", func(b *testing.B, dev usb.Device) usb.Device { return throughSession(b, dev, dialQUIC) }},
		{"tls", func(b *testing.B, dev usb.Device) usb.Device {
			return throughSession(b, dev, dialTCP(tcplink.TLS))
		}},
		{"tcp", func(b *testing.B, dev usb.Device) usb.Device {
			return throughSession(b, dev, dialTCP(tcplink.Plain))
		}},
	} {
		b.Run(layers.name, func(b *testing.B) {
			disk := throughUSBIP(b, layers.wrap(b, softwareDisk(b)))
			blocks, err := disk.Read(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for _, size := range []struct {
				name  string
				bytes int64
			}{{"1MiB", 1 << 20}, {"4KiB", 4 << 10}} {
				b.Run(size.name, func(b *testing.B) {
					buf := make([]byte, size.bytes)
					b.SetBytes(size.bytes)
					b.ReportAllocs()
					for n := int64(0); b.Loop(); n++ {
						if _, err := blocks.ReadAt(buf, n*size.bytes%blocks.Size()); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

func softwareDisk(b testing.TB) usb.Device {
	b.Helper()
	return softwareDiskOf(b, 16<<20)
}

func softwareDiskOf(b testing.TB, size int64) usb.Device {
	b.Helper()
	dev, _ := virtualtest.OpenDisk(b, virtual.SampleConfig{Size: size}, virtual.DiskConfig{Speed: usb.SpeedSuper})
	return dev
}

// throughUSBIP exports a device over USB/IP on loopback and imports it.
func throughUSBIP(b *testing.B, dev usb.Device) *massstorage.Disk {
	b.Helper()
	conn, err := net.Dial("tcp", serveUSBIP(b, dev))
	if err != nil {
		b.Fatal(err)
	}
	imported, err := usbip.Import(b.Context(), conn, dev.Info().ID)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { imported.Close() })
	disk, err := massstorage.New(massstorage.Config{Device: imported})
	if err != nil {
		b.Fatal(err)
	}
	return disk
}

// exporter exports one device, which stays open when its user closes it.
type exporter struct{ usb.Device }

func (e exporter) Exports() []usb.Info               { return []usb.Info{e.Info()} }
func (e exporter) Import(string) (usb.Device, error) { return e, nil }
func (e exporter) Close() error                      { return nil }

// oneDeviceHost is a session.Host that shares one device.
type oneDeviceHost struct{ dev usb.Device }

func (h oneDeviceHost) Devices() []tunnel.Device {
	return []tunnel.Device{session.Describe(h.dev.Info())}
}

func (h oneDeviceHost) Open(_ context.Context, a tunnel.Attach) (usb.Device, error) {
	dev := usb.Device(exporter{h.dev})
	if a.Ahead {
		dev = guard.New(dev)
	}
	if a.Isochronous && isochronous.Fits(dev.Info()) {
		dev = isochronous.NewHost(dev)
	}
	return dev, nil
}

// dialer makes a link between two peers. It returns one side of the link and passes the
// other side to accept.
type dialer func(b testing.TB, from, to ident.Key, accept func(link.Link)) link.Link

// throughSession attaches a device through two sessions and a link.
func throughSession(b testing.TB, dev usb.Device, dial dialer) usb.Device {
	b.Helper()
	remote, _ := attachThroughSession(b, dev, dial)
	return remote
}

// attachThroughSession attaches a device through two sessions and a link. It returns
// a function that replaces the link by a new one.
func attachThroughSession(b testing.TB, dev usb.Device, dial dialer) (remote usb.Device, relink func()) {
	b.Helper()
	return attachThroughEither(b, dev, dial, nil)
}

// attachThroughEither also gives the host the link of dialTCP, unless that is nil, if the
// host seeks a link over TCP.
func attachThroughEither(
	b testing.TB, dev usb.Device, dial, dialTCP dialer,
) (remote usb.Device, relink func()) {
	b.Helper()
	var keys [2]ident.Key
	for i := range keys {
		var err error
		if keys[i], err = ident.NewKey(rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
	var sessions [2]*session.Session
	for i := range sessions {
		cfg := session.Config{Local: keys[i].ID(), Remote: keys[1-i].ID(), Logger: slog.New(slog.DiscardHandler)}
		if i == 1 {
			cfg.Host = oneDeviceHost{dev}
			cfg.OnEvent = func(e session.Event) {
				if e.Kind == session.Seek && dialTCP != nil {
					go func() { sessions[0].Join(dialTCP(b, keys[0], keys[1], sessions[1].Join)) }()
				}
			}
		}
		var err error
		if sessions[i], err = session.New(cfg); err != nil {
			b.Fatal(err)
		}
		run(b, sessions[i].Run)
	}
	l := dial(b, keys[0], keys[1], sessions[1].Join)
	sessions[0].Join(l)
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	remote, err := sessions[0].Attach(ctx, tunnel.Attach{Device: dev.Info().ID, Ahead: true, Isochronous: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { remote.Close() })
	return remote, func() {
		l.Close("test")
		l = dial(b, keys[0], keys[1], sessions[1].Join)
		sessions[0].Join(l)
	}
}

func trustAll(ident.PeerID) error { return nil }

func dialQUIC(b testing.TB, from, to ident.Key, accept func(link.Link)) link.Link {
	b.Helper()
	var ends [2]*quiclink.Endpoint
	for i, key := range []ident.Key{from, to} {
		var err error
		ends[i], err = quiclink.NewEndpoint(quiclink.Config{
			Key: key, Listen: anyPort, Trust: trustAll, Accept: accept,
		})
		if err != nil {
			b.Fatal(err)
		}
		run(b, ends[i].Run)
	}
	l, err := ends[0].Dial(b.Context(), ends[1].LocalAddr().(*net.UDPAddr), to.ID(), link.Path{Rank: link.RankHost})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func dialTCP(mode tcplink.Mode) dialer {
	return func(b testing.TB, from, to ident.Key, accept func(link.Link)) link.Link {
		b.Helper()
		ln, err := tcplink.NewListener(tcplink.Config{
			Key: to, Mode: mode, Listen: anyPort, Trust: trustAll, Accept: accept,
		})
		if err != nil {
			b.Fatal(err)
		}
		run(b, ln.Run)
		l, err := tcplink.Dialer{Key: from}.Dial(b.Context(), mode, ln.Addr().String(), to.ID())
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
}

// run runs a part until the test ends.
func run(b testing.TB, part func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
}
