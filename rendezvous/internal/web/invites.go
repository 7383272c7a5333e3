package web

import (
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// invitePages shows, creates and revokes invites.
type invitePages struct {
	invites    Invites
	membership Membership
	join       joinLinks
	now        func() time.Time
}

func (p *invitePages) pages() []page {
	return []page{
		{
			path: "/invites", name: "invites", title: "Invites", nav: "invites", scope: api.ScopeInvites,
			load: p.load, post: p.create,
		},
		{
			path: "/invites/{id}/revoke", name: "confirm", title: "Revoke an invite", nav: "invites",
			scope: api.ScopeInvites,
			load:  p.askRevoke, post: p.revoke,
		},
	}
}

// invitesPage is the data of the page.
type invitesPage struct {
	Open     bool // no invite is needed
	Link     string
	Lifetime []choice
	Rows     []inviteRow
	Beyond   bool // there are more than are shown
}

// choice is an option of a form.
type choice struct{ Value, Text string }

// lifetimes are the lifetimes that a form offers for an invite or a token.
var lifetimes = []choice{
	{"1", "a day"}, {"7", "a week"}, {"30", "30 days"}, {"90", "90 days"}, {"365", "a year"},
}

// lifetime returns the lifetime that was chosen in a form.
func (v *view) lifetime() (time.Duration, error) {
	for _, c := range lifetimes {
		if c.Value == v.FormValue("days") {
			days, err := strconv.Atoi(c.Value)
			return time.Duration(days) * 24 * time.Hour, err
		}
	}
	return 0, formError("Choose how long it is valid.")
}

// inviteRow is an invite with what the page shows of it.
type inviteRow struct {
	peers.Invite
	Expired bool
}

// State returns whether the invite can be used, in one word.
func (i inviteRow) State() string {
	switch {
	case i.Revoked:
		return "revoked"
	case !i.Unlimited && i.Uses == 0:
		return "used up"
	case i.Expired:
		return "expired"
	}
	return "valid"
}

// newInvite is an invite that was just created. The page shows it once.
type newInvite struct {
	Link    string
	Command string
	QR      template.HTML
	Invite  peers.Invite
}

func (p *invitePages) load(v *view) error {
	page := invitesPage{Open: p.membership.Open(), Lifetime: lifetimes}
	if page.Open {
		page.Link = p.join("")
	}
	all, err := p.invites.Invites(v.ctx, registry.Page{Limit: maxSorted})
	if err != nil {
		return err
	}
	page.Beyond = len(all) == maxSorted
	slices.Reverse(all) // the newest first
	for _, i := range all {
		page.Rows = append(page.Rows, inviteRow{i, !p.now().Before(i.Expires)})
	}
	slices.SortStableFunc(page.Rows, func(a, b inviteRow) int {
		switch validA, validB := a.State() == "valid", b.State() == "valid"; {
		case validA == validB:
			return 0
		case validA:
			return -1
		}
		return 1
	})
	v.Data = page
	return nil
}

func (p *invitePages) create(v *view) (string, error) {
	ttl, err := v.lifetime()
	if err != nil {
		return "", err
	}
	uses := 0
	if text := strings.TrimSpace(v.FormValue("uses")); text != "" {
		if uses, err = strconv.Atoi(text); err != nil || uses < 1 {
			return "", formError("Enter the number of machines that may join. Leave the field empty for any number.")
		}
	}
	code, made, err := p.invites.CreateInvite(v.ctx, peers.InviteSpec{
		Label: strings.TrimSpace(v.FormValue("label")), Uses: uses, TTL: ttl, Key: v.idempotencyKey(),
	})
	if err != nil {
		return "", err
	}
	link := p.join(code)
	v.NewInvite = &newInvite{Link: link, Command: p.join.command(code), QR: qrCode(link), Invite: made}
	v.Form = nil
	return "", nil
}

func (p *invitePages) askRevoke(v *view) error {
	id, ok := v.shortID()
	if !ok {
		return peers.ErrInviteNotFound
	}
	i, err := p.invites.Invite(v.ctx, id)
	if err != nil {
		return err
	}
	ask := "Revoke the invite " + i.ID().String() + "?"
	if i.Label != "" {
		ask = "Revoke the invite “" + i.Label + "”?"
	}
	v.Data = question{
		Ask: ask, Do: "Revoke it", Destructive: true, Back: "/invites",
		Means: []string{
			"No further machine can join with it. " +
				many(i.Used, "machine", "machines") + " that joined with it will stay registered.",
		},
	}
	return nil
}

func (p *invitePages) revoke(v *view) (string, error) {
	id, ok := v.shortID()
	if !ok {
		return "", peers.ErrInviteNotFound
	}
	return with("/invites", "did", "invite-revoked"), p.invites.RevokeInvite(v.ctx, id)
}
