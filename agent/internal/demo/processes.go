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

// anyPort lets the system choose a port that only this machine reaches.
const anyPort = "127.0.0.1:0"

// joinLink is the file in which the rendezvous keeps its join link.
func (d *Demo) joinLink() string { return filepath.Join(d.dir, rendezvousName, "join-link") }

// startRendezvous runs the rendezvous until it answers.
func (d *Demo) startRendezvous(ctx context.Context) error {
	began := time.Now()
	if err := d.start(rendezvousName, rendezvousProgram,
		"--data="+filepath.Join(d.dir, rendezvousName), "--listen="+anyPort, "--stun-listen="+anyPort); err != nil {
		return err
	}
	var at *url.URL
	err := d.await(ctx, "the rendezvous to answer", func(ctx context.Context) (bool, error) {
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
	d.out.say("It answers at %s after %s. It made its certificate itself; the join link", d.found.Rendezvous, elapsed(began))
	d.out.say("that it wrote carries the certificate's pin and an invite. What it knows is in a SQLite file.")
	return nil
}

// startAgents runs both agents until the rendezvous knows them. Neither takes
// direct TLS links, so that the two can only meet through the rendezvous.
func (d *Demo) startAgents(ctx context.Context) error {
	began := time.Now()
	for _, a := range []struct {
		name   string
		client **localapi.Client
		own    []string
	}{
		{hostName, &d.host, []string{"--virtual=disk,keyboard", "--usbip-listen="}},
		{clientName, &d.client, []string{"--usbip-listen=" + anyPort}},
	} {
		home := filepath.Join(d.dir, a.name)
		socket := filepath.Join(d.dir, a.name+".sock") // the room for its path is small
		args := append([]string{
			"up", "--name=" + a.name, "--state=" + filepath.Join(home, "state"), "--socket=" + socket, "--backend=none",
			"--rendezvous=@" + d.joinLink(), "--listen=" + anyPort, "--tls-listen=",
		}, a.own...)
		if err := d.start(a.name, agentProgram, args...); err != nil {
			return err
		}
		*a.client = localapi.NewClient(socket)
	}
	var err error
	if d.found.Host, err = d.registered(ctx, d.host); err != nil {
		return err
	}
	if d.found.Client, err = d.registered(ctx, d.client); err != nil {
		return err
	}
	d.out.say("%-9s %s", hostName, d.found.Host.ID)
	d.out.say("%-9s %s", clientName, d.found.Client.ID)
	d.out.say("These are hashes of the keys that both made for themselves. Both are registered at the rendezvous,")
	d.out.say("%s after they were started.", elapsed(began))
	return nil
}

// registered waits until the rendezvous knows an agent.
func (d *Demo) registered(ctx context.Context, c *localapi.Client) (Agent, error) {
	var now localapi.Status
	err := d.await(ctx, "an agent to reach the rendezvous", func(ctx context.Context) (bool, error) {
		var err error
		if now, err = c.Status(ctx); err != nil {
			return false, err
		}
		return now.Rendezvous.Connected, fmt.Errorf("%s: %s", now.Self.Name, now.Rendezvous.Detail)
	})
	return Agent{Name: now.Self.Name, ID: now.Self.ID}, err
}

// elapsed writes a time that a person may find short or long.
func elapsed(since time.Time) string {
	d := time.Since(since)
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
