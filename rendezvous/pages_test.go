package rendezvous

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/accesslink"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/web/webtest"
)

// shots is the directory for screenshots, for a person to look at.
var shots = flag.String("screenshots", "", "directory for screenshots of the administrators' page")

// browse opens a browser that trusts the certificate of a server.
func browse(t *testing.T, i *instance) *webtest.Browser {
	t.Helper()
	p, _ := follow(t, i.link)
	conn := p.dial("http/1.1")
	spki := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	conn.Close()
	return webtest.Open(t, base64.StdEncoding.EncodeToString(spki[:]), os.Getenv("EASYFIND_E2E_MUST_RUN") == "1")
}

// page returns the address of a page of the administrators.
func (i *instance) page(t *testing.T, path string) string {
	t.Helper()
	p, _ := follow(t, i.link)
	return "https://" + p.host + accesslink.AdminPath + path
}

// signIn signs a browser in with a token, and waits until its page is live.
func (i *instance) signIn(t *testing.T, b *webtest.Browser, token, path string) {
	t.Helper()
	b.Go(i.page(t, path))
	b.Type("#secret", token)
	b.Click("#sign-in button.main")
	i.live(b)
}

func (*instance) live(b *webtest.Browser) {
	b.Until("it is live", `document.querySelector("#live")?.dataset.state === "on"`)
}

func TestAdminLinkSignsInOneBrowserOnce(t *testing.T) {
	c := local(t)
	i := start(t, c)
	link := KeptAdminLink(c.Data)
	b := browse(t, i)
	b.Go(link)
	b.Sees("Peers online")
	if left := webtest.Eval[string](b, `location.href`); strings.Contains(left, "link") {
		t.Errorf("the link is still in the address bar: %s", left)
	}
	b.Click(`form[action="/admin/sign-out"] button`)
	b.Sees("You are signed out.")
	b.Accessible()
	b.Shoot(*shots, "signed-out")
	b.Go(i.page(t, "/peers"))
	b.Sees("Sign in to administer")

	b.Allow("status of 403")
	b.Go(link)
	b.Sees("This link is not valid: it was used before")
	b.Accessible()
	b.Shoot(*shots, "link-used")
	if log := i.log.String(); strings.Contains(log, accesslink.Parameter(link, "link")) {
		t.Error("the log contains the link's secret")
	}
}

func TestAdministratorSeesAndRevokesPeer(t *testing.T) {
	c := local(t)
	i := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	b := browse(t, i)
	i.signIn(t, b, admin.token, "/peers")
	b.Sees("No peer yet")

	p := newPeer(t, i.link, 1)
	b.Sees("0 online")
	b.Type("#q", "half ty")
	p.connect()
	b.Sees("1 online")
	if typed := webtest.Eval[string](b, `document.activeElement.value`); typed != "half ty" {
		t.Errorf("after an update the field contains %q", typed)
	}

	b.Click(`table a[href*="/admin/peers/"]`)
	b.Sees(p.key.ID().String())
	b.Do("empty the field", webtest.Clear("#name"))
	b.Type("#name", "Workshop PC\n")
	b.Sees("The peer has its new name.")
	b.Click(`a.grave`)
	b.Sees("Revoke Workshop PC")
	b.Accessible()
	b.Shoot(*shots, "revoke")
	b.Click("button.grave")
	b.Sees("The peer is revoked")
	if bye, ok := p.read().(signal.Bye); !ok || bye.Code != signal.ByeRevoked {
		t.Errorf("the peer got %#v", bye)
	}
	b.Go(i.page(t, "/revoked"))
	b.Sees("Workshop PC")
}

func TestAdministratorCreatesInvite(t *testing.T) {
	c := local(t)
	i := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	b := browse(t, i)
	i.signIn(t, b, admin.token, "/invites")
	b.Type("#label", "the attic")
	b.Click("form.stack button.main")
	b.Sees("It is shown only now.")
	i.live(b)
	link := b.Text("#join-link")
	if !webtest.Eval[bool](b, `document.querySelector("svg.qr path").getAttribute("d").length > 500`) {
		t.Error("there is no QR code")
	}
	b.Accessible()
	b.NoWiderThanWindow()
	b.Shoot(*shots, "invited")
	opened := browse(t, i)
	opened.Go(link)
	opened.Sees("easyfind up --rendezvous '" + link + "'")
	opened.Accessible()
	newPeer(t, link, 1)
	b.Sees("used up")
	if again := b.Text("#join-link"); again != link {
		t.Errorf("an update removed the link: %q", again)
	}
	b.Click("#label") // the form is filled in while the page is updated
	b.Type("#label", "the cellar")
	newPeer(t, i.link, 2)
	b.Sees("1 of any number")
	if typed := webtest.Eval[string](b, `document.querySelector("#label").value`); typed != "the cellar" {
		t.Errorf("after an update the field contains %q", typed)
	}
	b.Click(`tr:has(.badge.good) a.button`) // the invite of the join link
	b.Sees("Revoke the invite")
	b.Click("button.grave")
	b.Sees("The invite is revoked.")
	b.Go(i.page(t, "/audit?kind=invite_revoked"))
	b.Until("the audit log contains it", `document.querySelectorAll("tbody tr").length === 1`)
}

func TestAdministratorSeesLinkBecomeDirect(t *testing.T) {
	c := local(t)
	i := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	one, two := newPeer(t, i.link, 1).connect(), newPeer(t, i.link, 2).connect()
	one.allow(two)
	two.allow(one)
	b := browse(t, i)
	i.signIn(t, b, admin.token, "/pairs")
	b.Sees("No pair has a link now")
	path := signal.LinkReport{
		Peer: two.key.ID(), Kind: signal.LinkRelayed, Transport: signal.TransportTCP,
		RTT: 48 * time.Millisecond,
	}
	one.write(path)
	b.Sees("0 direct links, 1 relayed")
	b.Sees("48 ms")
	path.Kind, path.Transport = signal.LinkDirect, signal.TransportUDP
	one.write(path)
	b.Sees("1 direct link, 0 relayed")
	one.conn.Close()
	b.Sees("No pair has a link now")
}

func TestPageReconnectsAfterRestart(t *testing.T) {
	c := local(t)
	i := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	b := browse(t, i)
	i.signIn(t, b, admin.token, "/peers")
	c.Listen = admin.host
	i.stop()
	b.Allow("net::ERR_")
	b.Until("the page says that it is not live", `document.querySelector("#live").dataset.state === "lost"`)
	i = start(t, c)
	i.live(b)
	newPeer(t, i.link, 7)
	b.Sees("1 peer, 0 online")
}

func TestLimitedTokenSeesOnlyItsPages(t *testing.T) {
	c := local(t)
	i := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	var limited api.AdminToken
	admin.do(http.MethodPost, api.PathTokens, api.AdminTokenRequest{
		Label:  "helpdesk",
		Scopes: []api.Scope{api.ScopeInvites},
	}, &limited)
	b := browse(t, i)
	i.signIn(t, b, limited.Token, "")
	links := webtest.Eval[string](b, `[...document.querySelectorAll("nav a")].map((a) => a.textContent).join()`)
	if links != "Overview,Invites" {
		t.Errorf("the page links to: %s", links)
	}
	b.Allow("status of 403")
	b.Go(i.page(t, "/peers"))
	b.Sees("You may not see this page")
	admin.call(http.MethodDelete, api.TokenPath(limited.ID), nil)
	b.Go(i.page(t, ""))
	b.Sees("Sign in to administer")
}

func TestPageWorksWithKeyboard(t *testing.T) {
	c := local(t)
	i := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	b := browse(t, i)
	i.signIn(t, b, admin.token, "/access")
	b.Press("\t")
	if first := webtest.Eval[string](b, `document.activeElement.textContent`); first != "Skip to the contents" {
		t.Errorf("the first Tab goes to %q", first)
	}
	b.Press("\r")
	b.Until("the focus is after the navigation", `location.hash === "#main"`)
	b.Press("\t")
	b.Until("the focus is in the form", `document.activeElement.id === "label"`)
	b.Press("Ada\t \t")
	b.Until("the first scope is selected", `document.querySelector("[name=scopes]").checked`)
	if outline := webtest.Eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`); outline != "solid" {
		t.Errorf("the outline of the focused element is %s", outline)
	}
	b.Type("#label", "\r")
	b.Sees("It is shown only now.")
	if token := b.Text("#token"); !strings.HasPrefix(token, "efa_") {
		t.Errorf("token %q", token)
	}
}

// TestEveryPageRenders opens all pages in light and dark colours and on a phone, with
// a day of history and with peers.
func TestEveryPageRenders(t *testing.T) {
	c := local(t)
	c.Name, c.Region = "Home", "eu-west"
	names := []string{
		"Workshop PC", "Ada’s laptop", "Scanner in the hall", "3D printer",
		"Measuring bench with a rather long name", "Attic", "Cellar NAS",
	}
	remember(t, c.Data, len(names))
	i := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	all := populate(t, i, admin, names)
	b := browse(t, i)
	i.signIn(t, b, admin.token, "")
	paths := map[string]string{
		"overview": "", "peers": "/peers", "peer": "/peers/" + all[0].key.ID().String(), "pairs": "/pairs",
		"relay": "/relay", "invites": "/invites",
		"approvals": "/approvals", "instances": "/instances", "audit": "/audit", "access": "/access",
		"revoked": "/revoked",
	}
	for _, look := range []struct {
		name          string
		width, height int64
		dark          bool
	}{
		{"light", 1280, 900, false},
		{"dark", 1280, 900, true},
		{"phone", 375, 812, false},
		{"phone-dark", 375, 812, true},
	} {
		b.Size(look.width, look.height)
		b.Dark(look.dark)
		for name, path := range paths {
			b.Go(i.page(t, path))
			i.live(b)
			b.Until("the page has contents", `document.querySelector("main h1")`)
			b.NoWiderThanWindow()
			b.Accessible()
			b.Shoot(*shots, name+"-"+look.name)
		}
	}
	b.Size(1280, 900)
	b.Go(i.page(t, "/peers?q="+all[1].key.ID().Short()))
	b.Sees("1 peer, 1 online")
	b.Go(i.page(t, "/peers?q=nobody"))
	b.Sees("No peer matches")
	b.Go(i.page(t, ""))
	b.Until("the charts show a day", `document.querySelectorAll(".plot path.line").length === 6`)
	b.Do("point at a chart", webtest.Point(".plot svg"))
	b.Until("the figures are shown", `/Peers \d/.test(document.querySelector(".tip")?.textContent)`)
	// The server counts days in UTC.
	b.Zone("Pacific/Honolulu")
	b.Go(i.page(t, "/relay"))
	i.live(b)
	b.Until("the charts show days", `document.querySelector("time[data-form=date]")`)
	last := `[...document.querySelectorAll(".ticks time[data-form=date]")].at(-1)`
	local := `new Date(` + last + `.dateTime).toLocaleDateString(undefined, ` +
		`{day: "numeric", month: "short", timeZone: "UTC"})`
	if day := webtest.Eval[bool](b, last+`.textContent === `+local); !day {
		t.Errorf("in Honolulu the last day is %s", webtest.Eval[string](b, last+`.textContent`))
	}
}
