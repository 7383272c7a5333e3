package demo

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
)

// anyPort lets the system choose a port on loopback.
const anyPort = "127.0.0.1:0"

// joinLink returns the file to which the rendezvous writes its join link.
func (d *Demo) joinLink() string { return filepath.Join(d.processes.dir, rendezvousName, "join-link") }

// startRendezvous starts the rendezvous and waits until it answers.
func (d *Demo) startRendezvous(ctx context.Context) error {
	began := time.Now()
	data := filepath.Join(d.processes.dir, rendezvousName)
	err := d.processes.start(rendezvousName, rendezvousProgram,
		"--data="+data, "--listen="+anyPort, "--stun-listen="+anyPort)
	if err != nil {
		return err
	}
	var at *url.URL
	err = d.processes.await(ctx, "the rendezvous to answer", func(ctx context.Context) (bool, error) {
		link, err := os.ReadFile(d.joinLink())
		if err != nil {
			return false, err
		}
		if at, err = url.Parse(strings.TrimSpace(string(link))); err != nil {
			return false, err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.Host)
		if err != nil {
			return false, err
		}
		return true, conn.Close()
	})
	if err != nil {
		return err
	}
	d.found.Rendezvous = "https://" + at.Host + "/"
	d.printf("It answers at %s after %s. It has created its certificate; its join link",
		d.found.Rendezvous, elapsed(began))
	d.printf("contains the pin of the certificate and an invite. It stores its data in a SQLite file.")
	return nil
}

// startAgents starts both agents and waits until they are registered at the rendezvous.
// Neither accepts direct TLS links, so that they can meet only through the rendezvous.
func (d *Demo) startAgents(ctx context.Context) error {
	began := time.Now()
	for _, a := range []struct {
		name   string
		client **localapi.Client
		args   []string
	}{
		{hostName, &d.host, []string{"--virtual=disk,keyboard", "--usbip-listen="}},
		{clientName, &d.client, []string{"--usbip-listen=" + anyPort}},
	} {
		state := filepath.Join(d.processes.dir, a.name, "state")
		socket := filepath.Join(d.processes.dir, a.name+".sock") // a short path, because its length is limited
		args := append([]string{
			"up", "--name=" + a.name, "--state=" + state, "--socket=" + socket, "--backend=none",
			"--rendezvous=@" + d.joinLink(), "--listen=" + anyPort, "--tls-listen=",
		}, a.args...)
		if err := d.processes.start(a.name, agentProgram, args...); err != nil {
			return err
		}
		*a.client = localapi.NewClient(socket)
	}
	var err error
	if d.found.Host, err = d.awaitRegistered(ctx, d.host); err != nil {
		return err
	}
	if d.found.Client, err = d.awaitRegistered(ctx, d.client); err != nil {
		return err
	}
	d.printf("%-9s %s", hostName, d.found.Host.ID)
	d.printf("%-9s %s", clientName, d.found.Client.ID)
	d.printf("These IDs are hashes of the keys that the agents have created. Both agents are registered at the")
	d.printf("rendezvous, %s after their start.", elapsed(began))
	return nil
}

// awaitRegistered waits until an agent is connected to the rendezvous.
func (d *Demo) awaitRegistered(ctx context.Context, c *localapi.Client) (Agent, error) {
	var now localapi.Status
	err := d.processes.await(ctx, "an agent to reach the rendezvous", func(ctx context.Context) (bool, error) {
		var err error
		if now, err = c.Status(ctx); err != nil {
			return false, err
		}
		return now.Rendezvous.Connected, fmt.Errorf("%s: %s", now.Self.Name, now.Rendezvous.Detail)
	})
	return Agent{Name: now.Self.Name, ID: now.Self.ID}, err
}

// elapsed formats the time since a moment.
func elapsed(since time.Time) string {
	d := time.Since(since)
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
