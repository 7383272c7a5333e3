package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
)

// pair makes the workshop offer an address and the laptop join it.
func (d *Demo) pair(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %v for the pairing", patience))
	defer cancel()
	type offering struct {
		peer localapi.Peer
		err  error
	}
	shown := make(chan localapi.Offered, 1)
	offered := make(chan offering, 1)
	go func() {
		peer, err := d.host.OfferPairing(ctx, func(p localapi.Progress) {
			if p.Offered != nil {
				shown <- *p.Offered
			}
		})
		offered <- offering{peer, err}
	}()
	var offer localapi.Offered
	select {
	case offer = <-shown:
	case o := <-offered:
		return fmt.Errorf("offer of the %s: %w", hostName, o.err)
	}
	d.out.say("The %s shows the EasyFind address %s and the PIN %s.", hostName, offer.Address, offer.PIN)
	typed := time.Now()
	laptop, err := d.client.JoinPairing(ctx, localapi.JoinRequest{Address: offer.Address, PIN: offer.PIN}, nil)
	if err != nil {
		cancel()
		return errors.Join(fmt.Errorf("pairing by the %s: %w", clientName, err), (<-offered).err)
	}
	workshop := <-offered
	if workshop.err != nil {
		return fmt.Errorf("pairing by the %s: %w", hostName, workshop.err)
	}
	d.found.Pairing = Pairing{Address: offer.Address, Seconds: time.Since(typed).Seconds()}
	d.out.say("They are typed on the %s, and %s later the two know each other's keys for good. The", clientName, elapsed(typed))
	d.out.say("rendezvous carried the messages; the PIN was in none of them.")
	if err := d.check("each knows the other by its key", laptop.ID == d.found.Host.ID && workshop.peer.ID == d.found.Client.ID,
		"the %s knows %s, the %s %s", clientName, laptop.ID, hostName, workshop.peer.ID); err != nil {
		return err
	}
	_, again := d.client.JoinPairing(ctx, localapi.JoinRequest{Address: offer.Address, PIN: offer.PIN}, nil)
	if err := d.check("an address is good for one pairing", localapi.ExitCode(again) == localapi.ExitCode(errUsedUp), "the second attempt ended with: %v", again); err != nil {
		return err
	}
	d.out.say("Typed once more they are refused: %v", again)
	return nil
}

// errUsedUp has the code of an address that is unknown, expired or burned.
var errUsedUp = &localapi.Problem{Code: localapi.CodePairing}

// share shares the workshop's devices with the laptop, until it sees them.
func (d *Demo) share(ctx context.Context) error {
	devices, err := d.host.Devices(ctx)
	if err != nil {
		return fmt.Errorf("devices of the %s: %w", hostName, err)
	}
	d.out.say("Plugged in at the %s, in software, so that no USB hardware is needed:", hostName)
	for _, v := range devices {
		d.out.say("  %-11s %-26s %04x:%04x  %-9s %s", v.ID, v.Name, v.VendorID, v.ProductID, v.Kind, v.Speed)
		if _, err := d.host.Share(ctx, localapi.ShareRequest{Device: v.ID, With: []string{clientName}}); err != nil {
			return fmt.Errorf("sharing of %s: %w", v.ID, err)
		}
	}
	began := time.Now()
	var seen []localapi.RemoteDevice
	if err := d.await(ctx, "the laptop to see both devices", func(ctx context.Context) (bool, error) {
		seen, err = d.client.RemoteDevices(ctx, hostName)
		return len(seen) == 2, err
	}); err != nil {
		return err
	}
	d.found.Path.Seconds = time.Since(began).Seconds()
	d.out.say("Both are shared with the %s alone. It asks and sees them after %s, over a link made meanwhile.", clientName, elapsed(began))
	return d.check("the laptop sees what is shared", seen[0].ID == diskID && seen[1].ID == keyboardID,
		"it sees %s and %s", seen[0].ID, seen[1].ID)
}

// use attaches both devices: the disk to this machine's kernel if that can be.
func (d *Demo) use(ctx context.Context) error {
	began := time.Now()
	err := usbip.NewVHCI(usbip.VHCIConfig{}).Find()
	switch {
	case err == nil:
		d.found.InKernel = true
	case errors.Is(err, usbip.ErrNoVHCI):
		d.found.WhyNot = "this kernel has no vhci_hcd module"
	case errors.Is(err, usb.ErrPermission):
		d.found.WhyNot = "only root may use this kernel's vhci_hcd module"
	default:
		d.found.WhyNot = err.Error()
	}
	for _, id := range []string{diskID, keyboardID} {
		u, err := d.take(ctx, id, id != diskID || !d.found.InKernel)
		if err != nil {
			return err
		}
		if id == diskID {
			d.found.Disk.AttachSeconds = time.Since(began).Seconds()
		}
		if u.Endpoint {
			d.out.say("%-11s is there after %s, as %s on the %s's USB/IP endpoint %s", id, elapsed(began), u.BusID, clientName, u.Address)
		} else {
			d.out.say("%-11s is there after %s, in port %d of this kernel's virtual USB controller", id, elapsed(began), u.Port)
		}
	}
	if d.found.InKernel {
		d.out.say("The keyboard stays out of the kernel, or it would type into whatever window has the focus.")
		return nil
	}
	d.out.say("With root and vhci_hcd the disk would be a disk of this kernel, but %s.", d.found.WhyNot)
	d.out.say("Any USB/IP client can take both from the endpoint; this program is one.")
	return nil
}

// take uses a device of the workshop.
func (d *Demo) take(ctx context.Context, id string, endpoint bool) (localapi.Use, error) {
	u, err := d.client.Use(ctx, localapi.UseRequest{Peer: hostName, Device: id, Endpoint: endpoint}, nil)
	if err != nil {
		return u, fmt.Errorf("use of %s: %w", id, err)
	}
	return u, d.check(id+" is attached", u.State == localapi.UseAttached, "it is %s %s", u.State, u.Reason)
}

// link is the laptop's link to the workshop, and why it is no better one.
func (d *Demo) link(ctx context.Context) (localapi.Link, string, error) {
	s, err := d.client.Status(ctx)
	if err != nil {
		return localapi.Link{}, "", fmt.Errorf("status of the %s: %w", clientName, err)
	}
	if len(s.Peers) != 1 || s.Peers[0].Link == nil {
		return localapi.Link{}, "", fmt.Errorf("the %s has no link to the %s", clientName, hostName)
	}
	return *s.Peers[0].Link, s.Peers[0].WhyNoBetter, nil
}

// showPath says which path was chosen and why, and switches the rendezvous off
// where no relay of it carries the link.
func (d *Demo) showPath(ctx context.Context) error {
	l, why, err := d.link(ctx)
	if err != nil {
		return err
	}
	d.linked = l
	if why == "" {
		why = "nothing stands between two programs on one machine, and there is no better kind of path."
	}
	d.found.Path.Rank, d.found.Path.Transport, d.found.Path.Why = l.Rank, l.Transport, why
	d.found.Path.Local, d.found.Path.Remote, d.found.Path.Relay, d.found.Path.Encrypted = l.Local, l.Remote, l.Relay, l.Encrypted
	d.out.say("%s: %s, %s → %s", l.Rank, l.Transport, l.Local, l.Remote)
	d.out.say("Why this one: %s", why)
	if err := d.check("the link is encrypted", l.Encrypted, "it is %s over %s", l.Rank, l.Transport); err != nil {
		return err
	}
	known, err := d.client.Peers(ctx)
	if err != nil {
		return fmt.Errorf("peers of the %s: %w", clientName, err)
	}
	addresses := 0
	for _, p := range known {
		addresses += len(p.Addresses)
	}
	if err := d.check("the rendezvous brokered the link", addresses == 0, "the %s knows %d addresses of the %s", clientName, addresses, hostName); err != nil {
		return err
	}
	d.out.say("Neither agent knew an address of the other: the rendezvous brokered the link between them. The link is")
	d.out.say("encrypted from one agent's key to the other's.")
	if l.Relay != "" {
		return nil
	}
	err = d.processes[0].stop()
	if err := d.check("the rendezvous ended when it was asked to", err == nil, "%v", err); err != nil {
		return err
	}
	d.out.say("The rendezvous has no part in it any more, and is switched off now to show it.")
	return nil
}

// giveBack releases both devices and stops everything.
func (d *Demo) giveBack(ctx context.Context) error {
	for _, id := range []string{diskID, keyboardID} {
		if err := d.client.Release(ctx, hostName+"/"+id); err != nil {
			return fmt.Errorf("release of %s: %w", id, err)
		}
	}
	var held string
	err := d.await(ctx, "the workshop to have its devices back", func(ctx context.Context) (bool, error) {
		devices, err := d.host.Devices(ctx)
		held = ""
		for _, v := range devices {
			if v.UsedBy != "" || v.InUse != "" {
				held = v.ID
			}
		}
		return err == nil && held == "", err
	})
	if err := errors.Join(err, d.check("the workshop has its devices back", err == nil, "%s is still in use", held)); err != nil {
		return err
	}
	d.out.say("The %s has released both; the %s has them back.", clientName, hostName)
	err = d.stopAll()
	if err := d.check("both agents ended when they were asked to", err == nil, "%v", err); err != nil {
		return err
	}
	d.out.say("Both agents have ended in good order.")
	return nil
}
