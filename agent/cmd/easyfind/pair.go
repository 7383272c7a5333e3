package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/mdp/qrterminal/v3"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

type pairCommand struct {
	agentFlags
	Address string `arg:"" optional:"" help:"EasyFind address that the other machine shows."`
	PIN     string `arg:"" optional:"" name:"pin" help:"PIN that the other machine shows. Default: ask for it."`
}

// Help is shown below the command's flags.
func (*pairCommand) Help() string {
	return `Two machines are paired once. The address and the PIN are valid for ten minutes, one pairing and three
tries.

Examples:

  easyfind pair                      on one machine: shows an address and a PIN
  easyfind pair K7M-2Q2 4821-9930    on the other machine
  easyfind pair K7M-2Q2              asks for the PIN, so that the list of processes does not show it`
}

// Run pairs this machine with another one.
func (c *pairCommand) Run(p *program) error {
	backend := c.agent(p)
	peer, err := c.pair(p, backend)
	if err != nil {
		return err
	}
	return p.result(peer, func() {
		p.printf("Paired with %s (%s).", peer.Name, peer.ID)
		if c.Address == "" {
			p.printf("Share a device with: easyfind devices, then easyfind share DEVICE")
		} else {
			p.printf("List its devices with: easyfind ls %s", peer.Name)
		}
	})
}

func (c *pairCommand) pair(p *program, backend *localapi.Client) (localapi.Peer, error) {
	if c.Address == "" {
		w := &pairWait{program: p}
		defer w.end()
		return backend.OfferPairing(p.ctx, w.progress)
	}
	address, err := ident.ParseAddress(c.Address)
	if err != nil {
		return localapi.Peer{}, &localapi.Problem{
			Code: localapi.CodeInvalid, Detail: err.Error() + ": the other machine shows an address such as K7M-2Q2",
		}
	}
	typed := c.PIN
	if typed == "" {
		if typed, err = p.ask("PIN that the other machine shows: "); err != nil {
			return localapi.Peer{}, err
		}
	}
	pin, err := ident.ParsePIN(typed)
	if err != nil {
		return localapi.Peer{}, &localapi.Problem{Code: localapi.CodeInvalid, Detail: err.Error()}
	}
	return backend.JoinPairing(p.ctx, localapi.JoinRequest{Address: address, PIN: pin}, p.progress)
}

// ask writes a question and reads one line.
func (p *program) ask(question string) (string, error) {
	const maxLine = 256
	fmt.Fprint(p.err, question)
	line, err := bufio.NewReader(io.LimitReader(p.in, maxLine)).ReadString('\n')
	if err != nil && line == "" {
		return "", &localapi.Problem{
			Code: localapi.CodeInvalid, Detail: "no PIN was given: give it after the address or on the standard input",
		}
	}
	return strings.TrimSpace(line), nil
}

// pairWait shows an offered address, and on a terminal a clock until it expires.
type pairWait struct {
	*program
	stop  chan struct{} // closed to stop the clock; nil: no clock runs
	clock sync.WaitGroup
}

func (w *pairWait) progress(now localapi.Progress) {
	w.end() // the clock must not overwrite the next line
	if now.Message != "" {
		w.notef("… %s", now.Message)
	}
	if now.Offered != nil {
		w.show(*now.Offered)
	}
}

func (w *pairWait) show(o localapi.Offer) {
	if w.json {
		_ = w.document(o) // if this fails, the result fails too
		return
	}
	if w.outTTY {
		// The camera of a phone reads the command to type.
		qrterminal.GenerateHalfBlock(joinCommand(o), qrterminal.M, w.out)
	}
	w.printf("EasyFind address   %s", string(o.Address))
	w.printf("PIN                %s", string(o.PIN))
	w.printf("")
	w.printf("On the other machine: %s", joinCommand(o))
	if !w.errTTY {
		w.notef("… waiting for the other machine until %s", o.Expires.Local().Format(time.TimeOnly))
		return
	}
	w.stop = make(chan struct{})
	w.clock.Go(func() { w.count(o.Expires, w.stop) })
}

// joinCommand returns the command that accepts an offer.
func joinCommand(o localapi.Offer) string {
	return fmt.Sprintf("easyfind pair %s %s", clean(string(o.Address)), clean(string(o.PIN)))
}

// count shows the remaining time on one line, every second.
func (w *pairWait) count(expires time.Time, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		left := max(0, expires.Sub(w.now())).Round(time.Second)
		minutes, seconds := int(left.Minutes()), int(left.Seconds())%60
		fmt.Fprintf(w.err, "\r… waiting for the other machine, %d:%02d left ", minutes, seconds)
		select {
		case <-stop:
			fmt.Fprint(w.err, "\r\x1b[K")
			return
		case <-tick.C:
		}
	}
}

// end stops the clock and waits for it.
func (w *pairWait) end() {
	if w.stop != nil {
		close(w.stop)
		w.stop = nil
	}
	w.clock.Wait()
}
