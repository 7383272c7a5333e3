package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/buses"
	"github.com/easyfind-usb/easyfind/agent/internal/pairing"
)

// Config holds the settings of an agent. Each field is a flag, an environment
// variable (EASYFIND_ and the name of the flag), and a key of the settings file.
// HelpTexts returns the variables in its help texts.
type Config struct {
	State         string        `type:"path" placeholder:"DIR" help:"${state_help}"`
	Socket        string        `type:"path" placeholder:"PATH" help:"Unix socket for the other commands (${socket})."`
	Rendezvous    string        `placeholder:"LINK" help:"${rendezvous_help}"`
	Name          string        `placeholder:"NAME" help:"${name_help}"`
	Listen        string        `default:":0" placeholder:"ADDR" help:"UDP address for direct links."`
	TLSListen     string        `name:"tls-listen" default:":7574" placeholder:"ADDR" help:"${tls_listen_help}"`
	TCPListen     string        `name:"tcp-listen" placeholder:"ADDR" help:"${tcp_listen_help}"`
	USBIP         string        `name:"usbip-listen" default:"127.0.0.1:3240" placeholder:"ADDR" help:"${usbip_help}"`
	Backend       string        `default:"usbfs" placeholder:"BACKEND" help:"${backend_help}"`
	Virtual       []string      `placeholder:"KIND,..." help:"Add software devices: disk, keyboard."`
	Disk          string        `name:"virtual-disk" type:"path" placeholder:"FILE" help:"${disk_help}"`
	NoPathReports bool          `name:"no-path-reports" help:"${no_path_reports_help}"`
	Budget        time.Duration `default:"60s" help:"${budget_help}"`
	NoAccel       []string      `name:"no-acceleration" placeholder:"VID:PID,..." help:"${no_acceleration_help}"`
	WriteCache    []string      `name:"write-cache" placeholder:"VID:PID,..." help:"${write_cache_help}"`

	Version string       `kong:"-"`
	Logger  *slog.Logger `kong:"-"`
}

// HelpTexts returns the variables in the help texts of Config, by name. State and
// socket are the default paths.
func HelpTexts(state, socket string) map[string]string {
	return map[string]string{
		"state": state, "socket": socket,
		"state_help": "Directory of this agent's key, peers, shares and uses (" + state + ").",
		"rendezvous_help": "Join link of the rendezvous, as the rendezvous prints it, or @FILE for a file that " +
			"contains it. Without it, only peers with direct addresses can be reached.",
		"name_help": "Name of this machine for other machines. The default is the host name.",
		"tls_listen_help": "TCP address at which paired peers connect directly over TLS. " +
			"An empty address turns that off.",
		"tcp_listen_help": "TCP address for links that are authenticated but NOT encrypted, such as :7575. " +
			"Set it only in networks that you trust.",
		"usbip_help": "TCP address of the USB/IP server for devices used with --endpoint. An empty address turns it " +
			"off. USB/IP has no protection: keep the address on loopback.",
		"backend_help": "Source of the USB devices that can be shared: usbfs (Linux), libusb, usbip://HOST:PORT (the " +
			"exports of a USB/IP server), or none. USB/IP has no protection: give only a server on this machine or " +
			"in a network that you trust.",
		"disk_help":            "Add a software disk whose blocks are the content of this file.",
		"no_path_reports_help": "Do not report to the rendezvous whether links are direct or relayed.",
		"no_acceleration_help": "Kinds of devices that are never accelerated, such as 0781:5583. " +
			"\"easyfind use\" has a flag for a single device.",
		"write_cache_help": "Kinds of disks that are always used with a write cache, such as 0781:5583. " +
			"\"easyfind use\" has a flag for a single disk.",
		"budget_help": "How long a device stays attached while its host cannot be reached.",
	}
}

// kindOfDevice matches a vendor and a product id.
var kindOfDevice = regexp.MustCompile("^[0-9a-f]{4}:[0-9a-f]{4}$")

// maxLink bounds the file of a join link, in bytes.
const maxLink = 4 << 10

// complete adds the defaults that depend on the machine, and checks the settings.
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
		return c, fmt.Errorf("%q cannot be this machine's name: give 1 to %d printable characters with --name",
			c.Name, pairing.MaxName)
	}
	if c.Budget < time.Second || c.Budget > time.Hour {
		return c, fmt.Errorf("a budget of %v is not possible: give 1s to 1h with --budget", c.Budget)
	}
	for flag, kinds := range map[string][]string{"--no-acceleration": c.NoAccel, "--write-cache": c.WriteCache} {
		for i, kind := range kinds {
			kinds[i] = strings.ToLower(kind)
			if !kindOfDevice.MatchString(kinds[i]) {
				return c, fmt.Errorf(
					"%q is no kind of device: give vendor:product with %s, such as 0781:5583", kind, flag)
			}
		}
	}
	if err := buses.CheckBackend(c.Backend); err != nil {
		return c, err
	}
	if file, ok := strings.CutPrefix(c.Rendezvous, "@"); ok {
		raw, err := os.ReadFile(file)
		if err != nil {
			return c, fmt.Errorf("join link of the rendezvous: %w", err)
		}
		if len(raw) > maxLink {
			return c, fmt.Errorf("join link of the rendezvous: the file %s is too large to be one", file)
		}
		c.Rendezvous = strings.TrimSpace(string(raw))
	}
	return c, nil
}
