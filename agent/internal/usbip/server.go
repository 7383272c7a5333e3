package usbip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	wire "github.com/easyfind-usb/easyfind/proto/usbip"
)

const (
	maxImporters     = 128              // connections of one server; further ones are closed
	operationTimeout = 10 * time.Second // for the operation phase of a connection
)

// Exporter provides the devices of a Server.
type Exporter interface {
	// Exports returns the devices that may be imported. Info.ID is the bus ID on
	// the wire.
	Exports() []usb.Info
	// Import opens a device for one importer. The Server closes it. Errors wrap
	// usb.ErrNotFound or usb.ErrInUse if one of these is the reason.
	Import(busID string) (usb.Device, error)
}

// ServerConfig holds the parameters of NewServer. All are required.
type ServerConfig struct {
	Listener net.Listener // the server closes it
	Exporter Exporter
	Logger   *slog.Logger
}

// Server serves devices to stock USB/IP clients such as usbip and usbip-win2.
// USB/IP has neither encryption nor authentication, so the listener should be on
// loopback.
type Server struct {
	cfg   ServerConfig
	slots chan struct{} // holds an element for each connection

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// NewServer returns a server, which accepts connections only in Run.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Listener == nil || cfg.Exporter == nil || cfg.Logger == nil {
		return nil, errors.New("USB/IP server: listener, exporter and logger are required")
	}
	return &Server{cfg: cfg, slots: make(chan struct{}, maxImporters), conns: map[net.Conn]bool{}}, nil
}

// Run accepts and serves connections until ctx ends. Then it closes all of them,
// waits for their goroutines and returns nil. It fails if the listener fails.
func (s *Server) Run(ctx context.Context) error {
	var joined sync.WaitGroup
	defer joined.Wait()
	stop := context.AfterFunc(ctx, func() {
		s.cfg.Listener.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.Close()
		}
	})
	defer stop()
	for {
		conn, err := s.cfg.Listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("USB/IP server: %w", err)
		}
		select {
		case s.slots <- struct{}{}:
			joined.Go(func() {
				defer func() { <-s.slots }()
				s.handle(ctx, conn)
			})
		default:
			conn.Close()
		}
	}
}

// handle serves one connection.
func (s *Server) handle(ctx context.Context, conn net.Conn) {
	s.mu.Lock()
	s.conns[conn] = true
	s.mu.Unlock()
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	if ctx.Err() != nil {
		return
	}
	log := s.cfg.Logger.With("remote_addr", conn.RemoteAddr().String())
	conn.SetDeadline(time.Now().Add(operationTimeout))
	req, err := wire.ReadRequest(conn)
	if err != nil {
		log.Debug("cannot read the request of a USB/IP client", "err", err)
		return
	}
	switch req := req.(type) {
	case *wire.ReqDevlist:
		list := &wire.RepDevlist{}
		for _, i := range s.cfg.Exporter.Exports() {
			list.Devices = append(list.Devices, describe(i))
		}
		if _, err := conn.Write(list.AppendTo(nil)); err != nil {
			log.Debug("cannot send the device list to a USB/IP client", "err", err)
		}
	case *wire.ReqImport:
		s.export(conn, req.BusID, log)
	}
}

// export opens a device and serves it on conn.
func (s *Server) export(conn net.Conn, busID string, log *slog.Logger) {
	dev, err := s.cfg.Exporter.Import(busID)
	if err != nil {
		log.Info("refused a USB/IP import", "device", busID, "err", err)
		conn.Write((&wire.RepImport{Status: statusOf(err)}).AppendTo(nil))
		return
	}
	defer dev.Close()
	reply := &wire.RepImport{Device: describe(dev.Info()).Device}
	reply.Device.BusID = busID
	if _, err := conn.Write(reply.AppendTo(nil)); err != nil {
		log.Info("cannot reply to a USB/IP import", "device", busID, "err", err)
		return
	}
	conn.SetDeadline(time.Time{})
	log.Info("a USB/IP client imported a device", "device", busID)
	err = Serve(conn, dev)
	log.Info("a USB/IP client released a device", "device", busID, "err", err)
}

func statusOf(err error) wire.Status {
	switch {
	case errors.Is(err, usb.ErrInUse):
		return wire.StatusBusy
	case errors.Is(err, usb.ErrNotFound):
		return wire.StatusNoDevice
	}
	return wire.StatusFailed
}
