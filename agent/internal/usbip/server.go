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
	maxImporters     = 128              // connections of one server
	operationTimeout = 10 * time.Second // from connecting to the request, and for the answer
)

// Exporter is what a server offers.
type Exporter interface {
	// Exports lists what may be imported; Info.ID is the bus id on the wire.
	Exports() []usb.Info
	// Import gives out a device, for one importer at a time, until its Close.
	// Errors wrap usb.ErrNotFound or usb.ErrInUse where these are the reason.
	Import(busID string) (usb.Device, error)
}

// ServerConfig configures a Server.
type ServerConfig struct {
	Listener net.Listener // the server closes it
	Exporter Exporter
	Logger   *slog.Logger
}

// Server speaks USB/IP to stock clients: usbip, usbip-win2, anything. USB/IP has
// neither encryption nor authentication, so its listener belongs on loopback.
type Server struct {
	cfg   ServerConfig
	slots chan struct{}

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// NewServer makes a server; nothing is accepted before Run.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Listener == nil || cfg.Exporter == nil || cfg.Logger == nil {
		return nil, errors.New("USB/IP server: listener, exporter and logger are needed")
	}
	return &Server{cfg: cfg, slots: make(chan struct{}, maxImporters), conns: map[net.Conn]bool{}}, nil
}

// Run serves until ctx ends, then closes every connection and waits for them.
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
	log := s.cfg.Logger.With("importer", conn.RemoteAddr().String())
	conn.SetDeadline(time.Now().Add(operationTimeout))
	req, err := wire.ReadRequest(conn)
	if err != nil {
		log.Debug("USB/IP request", "err", err)
		return
	}
	switch req := req.(type) {
	case *wire.ReqDevlist:
		list := &wire.RepDevlist{}
		for _, i := range s.cfg.Exporter.Exports() {
			list.Devices = append(list.Devices, describe(i))
		}
		if _, err := conn.Write(list.AppendTo(nil)); err != nil {
			log.Debug("USB/IP device list", "err", err)
		}
	case *wire.ReqImport:
		s.export(conn, req.BusID, log)
	}
}

// export hands out a device and serves it.
func (s *Server) export(conn net.Conn, busID string, log *slog.Logger) {
	dev, err := s.cfg.Exporter.Import(busID)
	if err != nil {
		log.Info("USB/IP import refused", "device", busID, "err", err)
		conn.Write((&wire.RepImport{Status: statusOf(err)}).AppendTo(nil))
		return
	}
	defer dev.Close()
	reply := &wire.RepImport{Device: describe(dev.Info()).Device}
	reply.Device.BusID = busID
	if _, err := conn.Write(reply.AppendTo(nil)); err != nil {
		log.Info("USB/IP import", "device", busID, "err", err)
		return
	}
	conn.SetDeadline(time.Time{})
	log.Info("USB/IP import begins", "device", busID)
	err = Serve(conn, dev)
	log.Info("USB/IP import ends", "device", busID, "err", err)
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
