package rendezvous

import (
	"net/http"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/accesslink"
)

func TestFirstRunGivesAnAdminLink(t *testing.T) {
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
		t.Error("a restart makes another link while one waits")
	}
	admin := newAdmin(t, KeptAdminLink(c.Data))
	var self api.AdminToken
	admin.call(http.MethodGet, api.TokenPath("self"), &self)
	if len(self.Scopes) != len(api.Scopes) {
		t.Errorf("token %+v", self)
	}
	for _, log := range []string{first.log.String(), second.log.String()} {
		if strings.Contains(log, admin.token) || strings.Contains(log, before.Get("link")) {
			t.Error("the log holds a secret")
		}
	}
	second.stop()
	third := start(t, c)
	if link := KeptAdminLink(c.Data); link != "" {
		t.Errorf("a link is kept although somebody administers the server: %q", link)
	}
	again, err := NewAdminLink(t.Context(), c) // beside the server, which runs
	if err != nil || again != KeptAdminLink(c.Data) {
		t.Fatalf("another link: %v", err)
	}
	newAdmin(t, again)
	third.stop()
	if again, err = NewAdminLink(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	kept := KeptAdminLink(c.Data) // at the port that the server has now
	if accesslink.Parameter(kept, "link") != accesslink.Parameter(again, "link") {
		t.Error("a restart makes another link while one waits")
	}
	newAdmin(t, kept)
}

func TestARevokedJoinLinkIsReplaced(t *testing.T) {
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
