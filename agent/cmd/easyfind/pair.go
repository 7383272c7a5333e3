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
	asking
	Address string `arg:"" optional:"" help:"EasyFind address that the other machine shows."`
	PIN     string `arg:"" optional:"" name:"pin" help:"PIN beside it; asked for if it is not given."`
}

// Help is shown below the command's flags.
func (*pairCommand) Help() string {
	return `Pairing is done once. The address and PIN are good for ten minutes, one pairing and three tries.

Examples:

  easyfind pair                      on one machine; it shows an address and a PIN
  easyfind pair K7M-2Q2 4821-9930    on the other one
  easyfind pair K7M-2Q2              asks for the PIN, which stays out of the list of processes`
}

// Run pairs this machine with another one.
func (c *pairCommand) Run(p *program) error {
	backend := c.agent(p)
	peer, err := c.pair(p, backend)
	if err != nil {
		return err
	}
	return p.result(peer, func() {
		p.say("Paired with %s (%s).", peer.Name, peer.ID)
		if c.Address == "" {
			p.say("Share a device with it: easyfind devices, then easyfind share DEVICE")
		} else {
			p.say("See its devices with: easyfind ls %s", peer.Name)
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
		return localapi.Peer{}, &localapi.Problem{Code: localapi.CodeInvalid, Detail: err.Error() + ": compare it with what the other machine shows, such as K7M-2Q2"}
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

// ask reads one line.
func (p *program) ask(question string) (string, error) {
	const maxLine = 256
	fmt.Fprint(p.err, question)
	line, err := bufio.NewReader(io.LimitReader(p.in, maxLine)).ReadString('\n')
	if err != nil && line == "" {
		return "", &localapi.Problem{Code: localapi.CodeInvalid, Detail: "no PIN was given: give it behind the address or on the standard input"}
	}
	return strings.TrimSpace(line), nil
}

// pairWait shows an offered address, and a clock while it is waited for.
type pairWait struct {
	*program
	stop  chan struct{}
	clock sync.WaitGroup
}

func (w *pairWait) progress(now localapi.Progress) {
	w.end() // a line between two ticks stays whole
	if now.Message != "" {
		w.note("… %s", now.Message)
	}
	if now.Offered != nil {
		w.show(*now.Offered)
	}
}

func (w *pairWait) show(o localapi.Offered) {
	if w.json {
		_ = w.document(o) // the result that follows will fail as well
		return
	}
	if w.outTTY {
		// A phone's camera shows what to type.
		qrterminal.GenerateHalfBlock(join(o), qrterminal.M, w.out)
	}
	w.say("EasyFind address   %s", string(o.Address))
	w.say("PIN                %s", string(o.PIN))
	w.say("")
	w.say("On the other machine: %s", join(o))
	if !w.errTTY {
		w.note("… waiting for the other machine, at most until %s", o.Expires.Local().Format(time.TimeOnly))
		return
	}
	w.stop = make(chan struct{})
	w.clock.Go(func() { w.count(o.Expires, w.stop) })
}

// join is the command that joins an offer.
func join(o localapi.Offered) string {
	return fmt.Sprintf("easyfind pair %s %s", clean(string(o.Address)), clean(string(o.PIN)))
}

// count writes the time that is left, over and over on one line.
func (w *pairWait) count(expires time.Time, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		left := max(0, expires.Sub(w.now())).Round(time.Second)
		fmt.Fprintf(w.err, "\r… waiting for the other machine, %d:%02d left ", int(left.Minutes()), int(left.Seconds())%60)
		select {
		case <-stop:
			fmt.Fprint(w.err, "\r\x1b[K")
			return
		case <-tick.C:
		}
	}
}

// end stops the clock.
func (w *pairWait) end() {
	if w.stop != nil {
		close(w.stop)
		w.stop = nil
	}
	w.clock.Wait()
}
