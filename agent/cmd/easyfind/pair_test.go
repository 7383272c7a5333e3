package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/localapi/localapitest"
	"github.com/easyfind-usb/easyfind/internal/logging/logtest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// TestPairAcceptsSloppyAddress types an address in lower case and without dashes.
func TestPairAcceptsSloppyAddress(t *testing.T) {
	address, err := ident.NewAddress(strings.NewReader("abcdefgh"))
	if err != nil {
		t.Fatal(err)
	}
	typed := strings.ToLower(strings.ReplaceAll(string(address), "-", ""))
	request := localapi.JoinRequest{Address: address, PIN: "4821-9930"}
	testCommand(t, []string{"pair", typed, "48219930"}, commandTest{"JoinPairing", request, nil})
}

// offeringBackend returns a backend that offers an address and waits until paired is
// closed.
func offeringBackend() (b *localapitest.Backend, paired chan struct{}) {
	b, paired = script(), make(chan struct{})
	b.Progress = []localapi.Progress{
		{Message: "asking the rendezvous"},
		{Offered: &localapi.Offer{
			Address: "K7M-2Q2", PIN: "4821-9930", Expires: now.Add(9*time.Minute + 41*time.Second),
		}},
	}
	b.Wait = paired
	return b, paired
}

func TestOfferOnTerminal(t *testing.T) {
	b, paired := offeringBackend()
	m := with(t, b)
	var stdout, stderr logtest.Journal
	p := &program{
		ctx: t.Context(), in: strings.NewReader(""), out: &stdout, err: &stderr, outTTY: true, errTTY: true,
		now: func() time.Time { return now }, paths: paths{socket: m.socket},
	}
	code := make(chan int, 1)
	go func() { code <- p.run([]string{"pair"}) }()
	stderr.Await(t, "9:41 left")
	out := stdout.String()
	const command = "On the other machine: easyfind pair K7M-2Q2 4821-9930"
	if !strings.Contains(out, command) || !strings.ContainsRune(out, '█') {
		t.Errorf("address, PIN or QR code missing in\n%s", out)
	}
	close(paired)
	if got := <-code; got != 0 || !strings.Contains(stdout.String(), "Paired with workshop") {
		t.Errorf("%d\n%s%s", got, stdout.String(), stderr.String())
	}
}

func TestOfferWithoutTerminal(t *testing.T) {
	b, paired := offeringBackend()
	close(paired)
	m := with(t, b)
	code, out, errOut := m.run(t, "pair")
	if code != 0 || strings.ContainsRune(out, '█') || strings.Contains(errOut, "\r") ||
		!strings.Contains(errOut, "waiting for the other machine") {
		t.Errorf("%d\n%s%s", code, out, errOut)
	}
	code, out, _ = m.run(t, "pair", "--json")
	d := json.NewDecoder(strings.NewReader(out))
	var first localapi.Offer
	var second localapi.Peer
	err := errors.Join(d.Decode(&first), d.Decode(&second))
	if err != nil || code != 0 || first.PIN != "4821-9930" || second.Name != "workshop" {
		t.Errorf("--json: %d, %v\n%s", code, err, out)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("--json: more than two documents\n%s", out)
	}
}

func TestInterruptCancelsOffer(t *testing.T) {
	b, _ := offeringBackend()
	m := with(t, b)
	ctx, interrupt := context.WithCancel(t.Context())
	var stdout, stderr logtest.Journal
	p := &program{
		ctx: ctx, in: strings.NewReader(""), out: &stdout, err: &stderr, errTTY: true,
		now: func() time.Time { return now }, paths: paths{socket: m.socket},
	}
	code := make(chan int, 1)
	go func() { code <- p.run([]string{"pair"}) }()
	stderr.Await(t, "left")
	interrupt()
	if got := <-code; got != 1 || !strings.HasSuffix(stderr.String(), "easyfind: interrupted\n") {
		t.Errorf("%d, %q", got, stderr.String())
	}
	waittest.Until(t, "the agent cancels the offer", func() bool {
		calls := b.Calls()
		return calls[len(calls)-1].Method == "OfferPairing cancelled"
	})
}

func TestPINFromStandardInput(t *testing.T) {
	address, err := ident.NewAddress(strings.NewReader("abcdefgh"))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]int{
		"4821-9930\n": 0, "48219930": 0, "": 2, "1234\n": 2, strings.Repeat("1", 5000): 2,
	} {
		b := script()
		m := with(t, b)
		m.in = in
		code, _, errOut := m.run(t, "pair", string(address))
		if code != want || !strings.Contains(errOut, "PIN") {
			t.Errorf("%.20q: %d, %q, want %d", in, code, errOut, want)
		}
		joined := []localapitest.Call{
			{Method: "JoinPairing", Request: localapi.JoinRequest{Address: address, PIN: "4821-9930"}},
		}
		if want == 0 && !cmp.Equal(b.Calls(), joined) {
			t.Errorf("%.20q: %v", in, b.Calls())
		}
	}
}
