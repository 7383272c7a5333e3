package rendezvous

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/signal"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/web/webtest"
)

// shots is where screenshots are kept, to be looked at.
var shots = flag.String("screenshots", "", "directory for screenshots of the administrators' page")

// browse opens a browser that trusts one server's certificate.
func browse(t *testing.T, i *instance) *webtest.Browser {
	t.Helper()
	p, _ := follow(t, i.link)
	conn := p.dial("http/1.1")
	spki := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	conn.Close()
	return webtest.Open(t, base64.StdEncoding.EncodeToString(spki[:]), os.Getenv("EASYFIND_E2E_MUST_RUN") == "1")
}

// page is the address of one of the administrators' pages.
func (i *instance) page(t *testing.T, path string) string {
	t.Helper()
	p, _ := follow(t, i.link)
	return "https://" + p.host + pathAdmin + path
}

func TestAdminLinkSignsABrowserInOnce(t *testing.T) {
	c := local(t)
	i := start(t, c)
	link := KeptAdminLink(c.Data)
	b := browse(t, i)
	b.Go(link)
	b.Sees("Peers online")
	if left := webtest.Eval[string](b, `location.href`); strings.Contains(left, "link") {
		t.Errorf("the link is left in the address: %s", left)
	}
	b.Click(`form[action="/admin/sign-out"] button`)
	b.Sees("You are signed out.")
	b.Shoot(*shots, "signed-out")
	b.Go(i.page(t, "/peers"))
	b.Sees("Sign in to administer")

	b.Allow("status of 403")
	b.Go(link)
	b.Sees("This link is not good: it was used before")
	b.Shoot(*shots, "link-used")
	if log := i.log.String(); strings.Contains(log, parameter(link, "link")) {
		t.Error("the log holds the link's secret")
	}
}

func TestAPeerIsSeenToComeAndSentAway(t *testing.T) {
	c := local(t)
	i := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	b := browse(t, i)
	b.Go(i.page(t, "/peers"))
	b.Type("#secret", admin.token)
	b.Click("#sign-in button.main")
	b.Sees("No peer yet")
	b.Until("it is live", `document.querySelector("#live").dataset.state === "on"`)

	p := newPeer(t, i.link, 1)
	b.Sees("0 online")
	b.Type("#q", "half ty")
	p.connect()
	b.Sees("1 online")
	if typed := webtest.Eval[string](b, `document.activeElement.value`); typed != "half ty" {
		t.Errorf("an update leaves %q of what was typed", typed)
	}
	b.Shoot(*shots, "peers")
	b.NoWiderThanWindow()

	b.Click(`table a[href*="/admin/peers/"]`)
	b.Sees(p.key.ID().String())
	b.Do("empty the field", webtest.Clear("#name"))
	b.Type("#name", "Workshop PC\n")
	b.Sees("The peer has its new name.")
	b.Click(`a.grave`)
	b.Sees("Revoke Workshop PC")
	b.Shoot(*shots, "revoke")
	b.Click("button.grave")
	b.Sees("The peer is revoked")
	if bye, ok := p.read().(signal.Bye); !ok || bye.Code != signal.ByeRevoked {
		t.Errorf("the peer got %#v", bye)
	}
	b.Go(i.page(t, "/revoked"))
	b.Sees("Workshop PC")
}
