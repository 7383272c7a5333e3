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
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/massstorage"
	"github.com/easyfind-usb/easyfind/agent/internal/usb/virtual"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// BenchmarkFarDisk reads a software disk through all that stands between a far
// device and its user, in one process: a session, a link on loopback, USB/IP.
// What it says is processor time, as there is no network. "near" has no session
// and no link.
func BenchmarkFarDisk(b *testing.B) {
	for _, way := range []struct {
		name string
		far  func(*testing.B, usb.Device) usb.Device
	}{
		{"near", func(_ *testing.B, dev usb.Device) usb.Device { return dev }},
		{"quic", func(b *testing.B, dev usb.Device) usb.Device { return throughSession(b, dev, dialQUIC) }},
		{"tls", func(b *testing.B, dev usb.Device) usb.Device { return throughSession(b, dev, dialTCP(tcplink.TLS)) }},
		{"tcp", func(b *testing.B, dev usb.Device) usb.Device { return throughSession(b, dev, dialTCP(tcplink.Plain)) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			disk := throughUSBIP(b, way.far(b, softwareDisk(b)))
			blocks, err := disk.Read(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for _, size := range []struct {
				name  string
				bytes int64
			}{{"1MiB", 1 << 20}, {"4KiB", 4 << 10}} {
				b.Run(size.name, func(b *testing.B) {
					room := make([]byte, size.bytes)
					b.SetBytes(size.bytes)
					b.ReportAllocs()
					for n := int64(0); b.Loop(); n++ {
						if _, err := blocks.ReadAt(room, n*size.bytes%blocks.Size()); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

func softwareDisk(b *testing.B) usb.Device {
	b.Helper()
	image, err := virtual.NewSample(virtual.SampleConfig{Size: 16 << 20})
	if err != nil {
		b.Fatal(err)
	}
	disk, err := virtual.NewDisk(virtual.DiskConfig{ID: "v-disk", Speed: usb.SpeedSuper, Store: image, Size: image.Size()})
	if err != nil {
		b.Fatal(err)
	}
	bus, err := virtual.New(virtual.Config{Gadgets: []virtual.Gadget{disk}})
	if err != nil {
		b.Fatal(err)
	}
	dev, err := bus.Open("v-disk", usb.OpenOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { dev.Close() })
	return dev
}

// throughUSBIP serves a device to an importer over a socket of loopback.
func throughUSBIP(b *testing.B, dev usb.Device) *massstorage.Disk {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server, err := usbip.NewServer(usbip.ServerConfig{Listener: ln, Exporter: exporter{dev}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	run(b, server.Run)
	conn, err := net.Dial("tcp", ln.Addr().String())
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

// exporter is a usbip.Exporter of one device, which stays open.
type exporter struct{ usb.Device }

func (e exporter) Exports() []usb.Info               { return []usb.Info{e.Info()} }
func (e exporter) Import(string) (usb.Device, error) { return e, nil }
func (e exporter) Close() error                      { return nil }

// host is a session.Host of one device.
type host struct{ dev usb.Device }

func (h host) Devices() []tunnel.Device { return []tunnel.Device{session.Describe(h.dev.Info())} }
func (h host) Open(context.Context, tunnel.Attach) (usb.Device, error) {
	return exporter{h.dev}, nil
}

// dialer makes a link between two peers and gives each its end.
type dialer func(b *testing.B, from, to ident.Key, accept func(link.Link)) link.Link

// throughSession attaches a device through two sessions and a link.
func throughSession(b *testing.B, dev usb.Device, dial dialer) usb.Device {
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
			cfg.Host = host{dev}
		}
		var err error
		if sessions[i], err = session.New(cfg); err != nil {
			b.Fatal(err)
		}
		run(b, sessions[i].Run)
	}
	sessions[0].Join(dial(b, keys[0], keys[1], sessions[1].Join))
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	far, err := sessions[0].Attach(ctx, tunnel.Attach{Device: dev.Info().ID})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { far.Close() })
	return far
}

func anyone(ident.PeerID) error { return nil }

func dialQUIC(b *testing.B, from, to ident.Key, accept func(link.Link)) link.Link {
	b.Helper()
	var ends [2]*quiclink.Endpoint
	for i, key := range []ident.Key{from, to} {
		var err error
		ends[i], err = quiclink.NewEndpoint(quiclink.Config{Key: key, Listen: "127.0.0.1:0", Trust: anyone, Accept: accept})
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
	return func(b *testing.B, from, to ident.Key, accept func(link.Link)) link.Link {
		b.Helper()
		ln, err := tcplink.NewListener(tcplink.Config{Key: to, Mode: mode, Listen: "127.0.0.1:0", Trust: anyone, Accept: accept})
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

// run runs a part until the benchmark ends.
func run(b *testing.B, part func(context.Context) error) {
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
