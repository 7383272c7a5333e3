package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/pairing"
)

// Config is everything that can be set. A field is a flag, an environment
// variable (EASYFIND_ and the flag's name) and a key of the settings file.
type Config struct {
	State         string        `type:"path" placeholder:"DIR" help:"Directory of this agent's key, peers, shares and uses (${state})."`
	Socket        string        `type:"path" placeholder:"PATH" help:"Unix socket for the other commands (${socket})."`
	Rendezvous    string        `placeholder:"LINK" help:"Join link of the rendezvous, as it prints it, or @FILE that holds it. None: only directly reachable peers."`
	Name          string        `placeholder:"NAME" help:"What other machines call this one (the host name)."`
	Listen        string        `default:":0" placeholder:"ADDR" help:"UDP address for direct links."`
	TLSListen     string        `name:"tls-listen" default:":7574" placeholder:"ADDR" help:"TCP address for direct TLS links of paired peers; empty: none."`
	TCPListen     string        `name:"tcp-listen" placeholder:"ADDR" help:"TCP address for links that are authenticated but NOT encrypted, such as :7575; only for networks you trust."`
	USBIP         string        `name:"usbip-listen" default:"127.0.0.1:3240" placeholder:"ADDR" help:"TCP address of the USB/IP server for devices used with --endpoint; empty: none. USB/IP has no protection: keep it on loopback."`
	Backend       string        `default:"usbfs" enum:"usbfs,libusb,none" help:"How to reach this machine's USB devices: usbfs (Linux), libusb, or none."`
	Virtual       []string      `placeholder:"KIND,..." help:"Add software devices: disk, keyboard."`
	Disk          string        `name:"virtual-disk" type:"path" placeholder:"FILE" help:"Add a software disk whose blocks are this file's."`
	NoPathReports bool          `name:"no-path-reports" help:"Do not tell the rendezvous whether this machine's links are direct or relayed."`
	Budget        time.Duration `default:"60s" help:"How long a device survives without a sign of life from its host."`

	Version string       `kong:"-"`
	Logger  *slog.Logger `kong:"-"`
}

// maxLink bounds the file of a join link, in bytes.
const maxLink = 4 << 10

// complete fills in what depends on the machine and refuses what cannot be.
func (c Config) complete() (Config, error) {
	if c.State == "" || c.Socket == "" || c.Logger == nil {
		return c, errors.New("agent: state directory, socket and logger are needed")
	}
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("no name for this machine: give one with --name: %w", err)
		}
		c.Name, _, _ = strings.Cut(host, ".")
	}
	if !pairing.ValidName(c.Name) {
		return c, fmt.Errorf("%q cannot be this machine's name: give 1 to %d printable characters with --name", c.Name, pairing.MaxName)
	}
	if c.Budget < time.Second || c.Budget > time.Hour {
		return c, fmt.Errorf("a budget of %v makes no sense: give 1s to 1h with --budget", c.Budget)
	}
	if file, ok := strings.CutPrefix(c.Rendezvous, "@"); ok {
		raw, err := os.ReadFile(file)
		if err != nil {
			return c, fmt.Errorf("join link of the rendezvous: %w", err)
		}
		if len(raw) > maxLink {
			return c, fmt.Errorf("join link of the rendezvous: %s is too large to be one", file)
		}
		c.Rendezvous = strings.TrimSpace(string(raw))
	}
	return c, nil
}
