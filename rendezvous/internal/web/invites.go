package web

import (
	"encoding/hex"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// invitesPage is the list of invites, and the form for another.
type invitesPage struct {
	Open     bool // nobody needs one
	Link     string
	Lifetime []choice
	Rows     []inviteRow
	Beyond   bool
}

// choice is one of a list in a form.
type choice struct{ Value, Text string }

// lifetimes are what an invite's or a token's may be chosen from.
var lifetimes = []choice{
	{"1", "a day"}, {"7", "a week"}, {"30", "30 days"}, {"90", "90 days"}, {"365", "a year"},
}

// lifetime reads the choice of a form.
func (v *view) lifetime() (time.Duration, error) {
	for _, c := range lifetimes {
		if c.Value == v.Typed("days") {
			days, err := strconv.Atoi(c.Value)
			return time.Duration(days) * 24 * time.Hour, err
		}
	}
	return 0, badForm("Choose how long it shall be good.")
}

// inviteRow is an invite as the page shows it.
type inviteRow struct {
	registry.Invite
	Expired bool
}

// State is how good the invite is.
func (i inviteRow) State() string {
	switch {
	case i.Revoked:
		return "revoked"
	case !i.Unlimited && i.Uses == 0:
		return "used up"
	case i.Expired:
		return "expired"
	}
	return "good"
}

// madeInvite is shown once.
type madeInvite struct {
	Link    string
	Command string
	QR      template.HTML
	Invite  registry.Invite
}

func (p *Pages) loadInvites(v *view) error {
	page := invitesPage{Open: p.cfg.Registry.Open(), Lifetime: lifetimes}
	if page.Open {
		page.Link = p.cfg.JoinLink("")
	}
	all, err := p.cfg.Registry.Invites(v.ctx, registry.Page{Limit: maxSorted})
	if err != nil {
		return err
	}
	page.Beyond = len(all) == maxSorted
	slices.Reverse(all) // the newest first
	for _, i := range all {
		page.Rows = append(page.Rows, inviteRow{i, !p.cfg.Now().Before(i.Expires)})
	}
	slices.SortStableFunc(page.Rows, func(a, b inviteRow) int {
		switch goodA, goodB := a.State() == "good", b.State() == "good"; {
		case goodA == goodB:
			return 0
		case goodA:
			return -1
		}
		return 1
	})
	v.Data = page
	return nil
}

// makeInvite shows the invite that was made: it cannot be shown again.
func (p *Pages) makeInvite(v *view) (string, error) {
	ttl, err := v.lifetime()
	if err != nil {
		return "", err
	}
	uses := 0
	if text := strings.TrimSpace(v.Typed("uses")); text != "" {
		if uses, err = strconv.Atoi(text); err != nil || uses < 1 {
			return "", badForm("How many machines may join is a number, or empty for any number.")
		}
	}
	code, made, err := p.cfg.Registry.CreateInvite(v.ctx, registry.InviteSpec{
		Label: strings.TrimSpace(v.Typed("label")), Uses: uses, TTL: ttl, Key: v.key(),
	})
	if err != nil {
		return "", err
	}
	link := p.cfg.JoinLink(code)
	v.Invited = &madeInvite{Link: link, Command: p.joinCommand(code), QR: qrCode(link), Invite: made}
	v.Form = nil
	return "", nil
}

// key is what makes a form that is sent twice do something once.
func (v *view) key() string {
	key := v.Typed("key")
	if key == "" || len(key) > api.MaxIdempotency {
		return ""
	}
	return "page " + key
}

// shortID reads an invite or a token of the address.
func (v *view) shortID() (id [8]byte, ok bool) {
	raw, err := hex.DecodeString(v.path("id"))
	if err != nil || len(raw) != len(id) {
		return id, false
	}
	return [8]byte(raw), true
}

func (p *Pages) askRevokeInvite(v *view) error {
	id, ok := v.shortID()
	if !ok {
		return registry.ErrInviteNotFound
	}
	i, err := p.cfg.Registry.Invite(v.ctx, id)
	if err != nil {
		return err
	}
	ask := "Revoke the invite " + i.ID().String() + "?"
	if i.Label != "" {
		ask = "Revoke the invite “" + i.Label + "”?"
	}
	v.Data = question{
		Ask: ask, Do: "Revoke it", Grave: true, Back: "/invites",
		Means: []string{"Nobody can join with it any more. The " + many(i.Used, "machine", "machines") + " that joined with it stay."},
	}
	return nil
}

func (p *Pages) revokeInvite(v *view) (string, error) {
	id, ok := v.shortID()
	if !ok {
		return "", registry.ErrInviteNotFound
	}
	return with("/invites", "did", "invite-revoked"), p.cfg.Registry.RevokeInvite(v.ctx, id)
}

// approvalsPage is who asks to join, and who may.
type approvalsPage struct {
	Open    bool
	Asking  []registry.Asking
	Waiting []registry.Approval
	Beyond  bool
}

func (p *Pages) loadApprovals(v *view) error {
	page := approvalsPage{Open: p.cfg.Registry.Open()}
	var err error
	if page.Asking, err = p.cfg.Registry.Asking(v.ctx); err != nil {
		return err
	}
	page.Waiting, err = p.cfg.Registry.Approvals(v.ctx, ident.PeerID{}, maxSorted)
	page.Beyond = len(page.Waiting) == maxSorted
	v.Data = page
	return err
}

func (p *Pages) approve(v *view) (string, error) {
	id, err := ident.ParsePeerID(v.Typed("peer"))
	if err != nil {
		return "", badForm("This is not the ID of a machine: a character is missing or mistyped. “easyfind status” shows it there.")
	}
	if _, err := p.cfg.Registry.Approve(v.ctx, id); err != nil {
		return "", err
	}
	return with("/approvals", "did", "approved"), nil
}

func (p *Pages) askDisapprove(v *view) error {
	id, err := v.peerOf()
	if err != nil {
		return err
	}
	v.Data = question{
		Ask: "Take the approval of " + id.Short() + " back?", Do: "Take it back", Back: "/approvals",
		Means: []string{"It may not join then, unless it has an invite."},
	}
	return nil
}

func (p *Pages) disapprove(v *view) (string, error) {
	id, err := v.peerOf()
	if err != nil {
		return "", err
	}
	return with("/approvals", "did", "disapproved"), p.cfg.Registry.Disapprove(v.ctx, id)
}
