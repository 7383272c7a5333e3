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

// pair lets the workshop offer an EasyFind address and the laptop join it.
func (d *Demo) pair(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx, d.processes.stepTimeout, "the pairing")
	defer cancel()
	type result struct {
		peer localapi.Peer
		err  error
	}
	offers := make(chan localapi.Offer, 1)
	results := make(chan result, 1)
	go func() {
		peer, err := d.host.OfferPairing(ctx, func(p localapi.Progress) {
			if p.Offered != nil {
				offers <- *p.Offered
			}
		})
		results <- result{peer, err}
	}()
	var offer localapi.Offer
	select {
	case offer = <-offers:
	case r := <-results:
		return fmt.Errorf("offer of the %s: %w", hostName, r.err)
	}
	d.printf("The %s shows the EasyFind address %s and the PIN %s.", hostName, offer.Address, offer.PIN)
	typed := time.Now()
	request := localapi.JoinRequest{Address: offer.Address, PIN: offer.PIN}
	laptop, err := d.client.JoinPairing(ctx, request, nil)
	if err != nil {
		cancel()
		return errors.Join(fmt.Errorf("pairing by the %s: %w", clientName, err), (<-results).err)
	}
	workshop := <-results
	if workshop.err != nil {
		return fmt.Errorf("pairing by the %s: %w", hostName, workshop.err)
	}
	d.found.Pairing = Pairing{Address: offer.Address, Seconds: time.Since(typed).Seconds()}
	d.printf("A person types them on the %s. After %s, each agent has stored the key of the other one.",
		clientName, elapsed(typed))
	d.printf("The rendezvous has carried their messages. None of the messages contained the PIN.")
	knows := laptop.ID == d.found.Host.ID && workshop.peer.ID == d.found.Client.ID
	if err := d.check("each agent knows the key of the other one", knows,
		"the %s knows %s, the %s %s", clientName, laptop.ID, hostName, workshop.peer.ID); err != nil {
		return err
	}
	_, again := d.client.JoinPairing(ctx, request, nil)
	isUsedUp := localapi.ExitCode(again) == localapi.ExitCode(errUsedUp)
	if err := d.check("an address is valid for one pairing", isUsedUp,
		"the second try ended with: %v", again); err != nil {
		return err
	}
	d.printf("A second try with the same address is refused: %v", again)
	return nil
}

// errUsedUp has the code of an address that is unknown, expired or used up.
var errUsedUp = &localapi.Problem{Code: localapi.CodePairing}

// share shares the devices of the workshop with the laptop, and waits until the laptop
// sees them.
func (d *Demo) share(ctx context.Context) error {
	devices, err := d.host.Devices(ctx)
	if err != nil {
		return fmt.Errorf("devices of the %s: %w", hostName, err)
	}
	d.printf("The %s has these devices. They are made of software, so that the demo needs no USB hardware:", hostName)
	for _, v := range devices {
		d.printf("  %-11s %-26s %04x:%04x  %-9s %s", v.ID, v.Name, v.VendorID, v.ProductID, v.Kind, v.Speed)
		if _, err := d.host.Share(ctx, localapi.ShareRequest{Device: v.ID, With: []string{clientName}}); err != nil {
			return fmt.Errorf("sharing of %s: %w", v.ID, err)
		}
	}
	began := time.Now()
	var seen []localapi.RemoteDevice
	err = d.processes.await(ctx, "the laptop to see both devices", func(ctx context.Context) (bool, error) {
		seen, err = d.client.RemoteDevices(ctx, hostName)
		return len(seen) == 2, err
	})
	if err != nil {
		return err
	}
	d.found.Path.Seconds = time.Since(began).Seconds()
	d.printf("The %s shares both with the %s only. The %s makes a link and sees them after %s.",
		hostName, clientName, clientName, elapsed(began))
	return d.check("the laptop sees the shared devices", seen[0].ID == diskID && seen[1].ID == keyboardID,
		"it sees %s and %s", seen[0].ID, seen[1].ID)
}

// use attaches both devices. It attaches the disk to this kernel if that is possible.
func (d *Demo) use(ctx context.Context) error {
	began := time.Now()
	d.found.InKernel, d.found.WhyNot = kernelCanAttach()
	for _, id := range []string{diskID, keyboardID} {
		u, err := d.attach(ctx, id, id != diskID || !d.found.InKernel)
		if err != nil {
			return err
		}
		if id == diskID {
			d.found.Disk.AttachSeconds = time.Since(began).Seconds()
		}
		if u.Endpoint {
			d.printf("%-11s is attached after %s, as %s on the USB/IP endpoint %s of the %s",
				id, elapsed(began), u.BusID, u.Address, clientName)
		} else {
			d.printf("%-11s is attached after %s, to port %d of this kernel's virtual USB controller",
				id, elapsed(began), u.Port)
		}
	}
	if d.found.InKernel {
		d.printf("The keyboard is not attached to the kernel: it would type into the window that has the focus.")
		return nil
	}
	d.printf("As root and with vhci_hcd, the disk would be a disk of this kernel, but %s.", d.found.WhyNot)
	d.printf("Any USB/IP client can import both devices from the endpoint. This program does.")
	return nil
}

// kernelCanAttach reports whether this kernel can attach remote devices, and if not,
// why.
func kernelCanAttach() (ok bool, reason string) {
	err := usbip.NewVHCI(usbip.VHCIConfig{}).Find()
	switch {
	case err == nil:
		return true, ""
	case errors.Is(err, usbip.ErrNoVHCI):
		return false, "this kernel has no vhci_hcd module"
	case errors.Is(err, usb.ErrPermission):
		return false, "only root may use this kernel's vhci_hcd module"
	}
	return false, err.Error()
}

// attach uses a device of the workshop.
func (d *Demo) attach(ctx context.Context, device string, endpoint bool) (localapi.Use, error) {
	request := localapi.UseRequest{Peer: hostName, Device: device, Endpoint: endpoint}
	u, err := d.client.Use(ctx, request, nil)
	if err != nil {
		return u, fmt.Errorf("use of %s: %w", device, err)
	}
	return u, d.check(device+" is attached", u.State == localapi.UseAttached, "it is %s %s", u.State, u.Reason)
}

// linkOf returns the laptop's link to the workshop, and why it is not a better one.
func linkOf(ctx context.Context, laptop *localapi.Client) (l localapi.Link, whyNoBetter string, err error) {
	s, err := laptop.Status(ctx)
	if err != nil {
		return localapi.Link{}, "", fmt.Errorf("status of the %s: %w", clientName, err)
	}
	if len(s.Peers) != 1 || s.Peers[0].Link == nil {
		return localapi.Link{}, "", fmt.Errorf("the %s has no link to the %s", clientName, hostName)
	}
	return *s.Peers[0].Link, s.Peers[0].WhyNoBetter, nil
}

// showPath shows the path and why it was chosen. Then it stops the rendezvous, unless
// its relay carries the link.
func (d *Demo) showPath(ctx context.Context) error {
	l, why, err := linkOf(ctx, d.client)
	if err != nil {
		return err
	}
	d.firstLink = l
	if why == "" {
		why = "nothing is between two programs on one machine, and no kind of path is better."
	}
	p := &d.found.Path
	p.Rank, p.Transport, p.Why, p.Encrypted = l.Rank, l.Transport, why, l.Encrypted
	p.Local, p.Remote, p.Relay = l.Local, l.Remote, l.Relay
	d.printf("%s: %s, %s → %s", l.Rank, l.Transport, l.Local, l.Remote)
	d.printf("Why this one: %s", why)
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
	if err := d.check("the agents met through the rendezvous", addresses == 0,
		"the %s knows %d addresses of the %s", clientName, addresses, hostName); err != nil {
		return err
	}
	d.printf("Neither agent knew an address of the other one: they met through the rendezvous. The link is")
	d.printf("encrypted from agent to agent.")
	if l.Relay != "" {
		return nil
	}
	err = d.processes.all[0].stop()
	if err := d.check("the rendezvous stopped on request", err == nil, "%v", err); err != nil {
		return err
	}
	d.printf("The link no longer needs the rendezvous. To show that, the demo has stopped it.")
	return nil
}

// giveBack releases both devices and stops the agents.
func (d *Demo) giveBack(ctx context.Context) error {
	for _, id := range []string{diskID, keyboardID} {
		if err := d.client.Release(ctx, hostName+"/"+id); err != nil {
			return fmt.Errorf("release of %s: %w", id, err)
		}
	}
	var used string
	err := d.processes.await(ctx, "the workshop to have its devices back", func(ctx context.Context) (bool, error) {
		devices, err := d.host.Devices(ctx)
		used = ""
		for _, v := range devices {
			if v.UsedBy != "" || v.InUse != "" {
				used = v.ID
			}
		}
		return err == nil && used == "", err
	})
	checkErr := d.check("the workshop has its devices back", err == nil, "%s is still in use", used)
	if err := errors.Join(err, checkErr); err != nil {
		return err
	}
	d.printf("The %s has released both devices; the %s has them back.", clientName, hostName)
	err = d.processes.stopAll()
	if err := d.check("both agents stopped on request", err == nil, "%v", err); err != nil {
		return err
	}
	d.printf("Both agents have stopped without errors.")
	return nil
}
