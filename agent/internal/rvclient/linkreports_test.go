package rvclient_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/internal/loopbacktest"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

// operator makes REST calls as an administrator of a rendezvous.
type operator struct {
	t      *testing.T
	base   string
	token  string
	client *http.Client
}

// administer returns an operator of the rendezvous with that data directory. It
// uses the rendezvous's one-time admin link.
func administer(t *testing.T, data string) *operator {
	t.Helper()
	link, err := url.Parse(rendezvous.KeptAdminLink(data))
	if err != nil {
		t.Fatal(err)
	}
	values, err := url.ParseQuery(link.Fragment)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := ident.ParsePin(values.Get("pin"))
	if err != nil {
		t.Fatal(err)
	}
	o := &operator{t: t, base: "https://" + link.Host, client: &http.Client{
		Transport: &http.Transport{TLSClientConfig: ident.PinnedTLS(pin)},
	}}
	t.Cleanup(o.client.CloseIdleConnections)
	var token api.AdminToken
	o.do(http.MethodPost, api.PathAdminLink, api.AdminLinkUse{Code: values.Get("link")}, &token)
	o.token = token.Token
	return o
}

func (o *operator) do(method, path string, in, out any) {
	o.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		o.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.base+path, bytes.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+o.token)
	resp, err := o.client.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil || resp.StatusCode/100 != 2 {
		o.t.Fatalf("%s %s: %s, %v", method, path, resp.Status, err)
	}
}

// sees waits until the rendezvous shows exactly one pair of peers with that kind
// of path, or no pair if path is "".
func (o *operator) sees(path string) {
	o.t.Helper()
	var got api.Pairs
	if !waittest.Eventually(func() bool {
		got = api.Pairs{}
		o.do(http.MethodGet, api.PathPairs, nil, &got)
		return len(got.Pairs) == 1 && got.Pairs[0].Path == path || len(got.Pairs) == 0 && path == ""
	}) {
		o.t.Fatalf("the rendezvous shows %+v, want %q", got.Pairs, path)
	}
}

func TestOperatorSeesLinkReports(t *testing.T) {
	data, address := t.TempDir(), loopbacktest.Address().String()
	s := serve(t, rendezvous.Config{Data: data, Listen: address})
	o := administer(t, data)
	a, b := join(t, s.link, 1).connected(t), join(t, s.link, 2).connected(t)
	allow(t, a, b)
	report := func(kind signal.LinkKind) {
		links := map[ident.PeerID]rvclient.LinkReport{}
		if kind != signal.LinkNone {
			links[b.id] = rvclient.LinkReport{Kind: kind, Transport: signal.TransportUDP, RTT: 21 * time.Millisecond}
		}
		a.ReportLinks(links)
	}
	report(signal.LinkRelayed)
	o.sees("relayed")
	report(signal.LinkDirect)
	o.sees("direct")
	var pairs api.Pairs
	o.do(http.MethodGet, api.PathPairs, nil, &pairs)
	if p := pairs.Pairs[0]; p.RTTMillis != 21 || p.Transport != "udp" || p.Name == "" || p.OtherName == "" {
		t.Errorf("pair %+v", p)
	}
	report(signal.LinkNone)
	o.sees("")
	report(signal.LinkLAN)
	o.sees("lan")

	// After a restart of the rendezvous the agent sends all reports again.
	s.stop()
	serve(t, rendezvous.Config{Data: data, Listen: address})
	a.connected(t)
	b.connected(t)
	o.client.CloseIdleConnections()
	o.sees("lan")
}

func TestRendezvousCanDeclineLinkReports(t *testing.T) {
	data, address := t.TempDir(), loopbacktest.Address().String()
	s := serve(t, rendezvous.Config{Data: data, Listen: address, NoPathReports: true})
	a, b := join(t, s.link, 1).connected(t), join(t, s.link, 2).connected(t)
	allow(t, a, b)
	a.ReportLinks(map[ident.PeerID]rvclient.LinkReport{
		b.id: {Kind: signal.LinkRelayed, Transport: signal.TransportTLS},
	})
	o := administer(t, data)
	if err := a.Send(t.Context(), b.id, []byte("still connected")); err != nil {
		t.Fatal(err)
	}
	b.expect(t, a.id.Short()+" still connected")
	o.sees("")
}
