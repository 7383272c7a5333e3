package rendezvous

import (
	"net/http"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/accesslink"
)

func TestFirstStartCreatesAdminLink(t *testing.T) {
	c := local(t)
	first := start(t, c)
	link := KeptAdminLink(c.Data)
	if !strings.Contains(link, "/admin#link=") {
		t.Fatalf("link %q", link)
	}
	first.stop()
	second := start(t, c)
	_, before := follow(t, link)
	_, now := follow(t, KeptAdminLink(c.Data))
	if now.Get("link") != before.Get("link") {
		t.Error("a restart replaces a link that was not used")
	}
	admin := newAdmin(t, KeptAdminLink(c.Data))
	var self api.AdminToken
	admin.call(http.MethodGet, api.TokenPath("self"), &self)
	if len(self.Scopes) != len(api.Scopes) {
		t.Errorf("token %+v", self)
	}
	for _, log := range []string{first.log.String(), second.log.String()} {
		if strings.Contains(log, admin.token) || strings.Contains(log, before.Get("link")) {
			t.Error("the log contains a secret")
		}
	}
	second.stop()
	third := start(t, c)
	if link := KeptAdminLink(c.Data); link != "" {
		t.Errorf("there is a link although the server has an administrator: %q", link)
	}
	again, err := NewAdminLink(t.Context(), c) // while the server runs
	if err != nil || again != KeptAdminLink(c.Data) {
		t.Fatalf("new link: %v", err)
	}
	newAdmin(t, again)
	third.stop()
	if again, err = NewAdminLink(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	kept := KeptAdminLink(c.Data) // it has the new port of the server
	if accesslink.Parameter(kept, "link") != accesslink.Parameter(again, "link") {
		t.Error("a restart replaces a link that was not used")
	}
	newAdmin(t, kept)
}

func TestRevokedJoinLinkIsReplaced(t *testing.T) {
	c := local(t)
	first := start(t, c)
	admin := newAdmin(t, KeptAdminLink(c.Data))
	var list api.Invites
	admin.call(http.MethodGet, api.PathInvites, &list)
	if len(list.Invites) != 1 {
		t.Fatalf("invites %+v", list)
	}
	admin.call(http.MethodDelete, api.InvitePath(list.Invites[0].ID), nil)
	first.stop()
	second := start(t, c)
	newPeer(t, second.link, 1)
}
