package web

import (
	"slices"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// accessPage is who may administer: tokens, and the browsers that are signed in.
type accessPage struct {
	Scopes   []scopeChoice
	Lifetime []choice
	Tokens   []tokenRow
	Sessions []tokenRow
	Beyond   bool
}

// scopeChoice is a scope in the form.
type scopeChoice struct {
	Scope   api.Scope
	Means   string
	Checked bool
}

var scopeWords = map[api.Scope]string{
	api.ScopePeers:   "see, rename, revoke, approve; pairs and relay use",
	api.ScopeInvites: "make, see, revoke",
	api.ScopeAudit:   "see the log, the instances and the history",
	api.ScopeAdmin:   "everything, these tokens too",
}

// tokenRow is a token or a session as the page shows it.
type tokenRow struct {
	registry.AdminToken
	Good bool
	This bool   // the session of who looks
	Of   string // whose session it is
}

// CoversAll lists the scopes.
func (t tokenRow) CoversAll() string {
	var all []string
	for _, s := range t.Scopes.List() {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

// madeToken is shown once.
type madeToken struct {
	Token string
	Made  registry.AdminToken
}

func (p *Pages) loadAccess(v *view) error {
	page := accessPage{Lifetime: lifetimes}
	for _, s := range api.Scopes {
		page.Scopes = append(page.Scopes, scopeChoice{s, scopeWords[s], slices.Contains(v.Form["scopes"], string(s))})
	}
	all, err := p.cfg.Registry.Tokens(v.ctx, registry.Page{Limit: maxSorted})
	if err != nil {
		return err
	}
	page.Beyond = len(all) == maxSorted
	good := map[registry.TokenPrefix]bool{}
	labels := map[registry.TokenPrefix]string{}
	for _, t := range all {
		good[t.ID] = !t.Revoked && p.cfg.Now().Before(t.Expires)
		labels[t.ID] = t.Label
	}
	slices.Reverse(all)
	for _, t := range all {
		row := tokenRow{AdminToken: t, Good: good[t.ID], This: t.ID == v.Session.ID, Of: "the one-time link"}
		if t.Parent != (registry.TokenPrefix{}) {
			row.Good = row.Good && good[t.Parent]
			row.Of = "token " + t.Parent.String() + " " + labels[t.Parent]
		}
		switch {
		case !t.Session:
			page.Tokens = append(page.Tokens, row)
		case row.Good:
			page.Sessions = append(page.Sessions, row)
		}
	}
	v.Data = page
	return nil
}

func (p *Pages) makeToken(v *view) (string, error) {
	ttl, err := v.lifetime()
	if err != nil {
		return "", err
	}
	var scopes []api.Scope
	for _, s := range v.Form["scopes"] {
		scopes = append(scopes, api.Scope(s))
	}
	set, err := registry.ScopesOf(scopes)
	if err != nil {
		return "", badForm("Choose what the token shall cover.")
	}
	token, made, err := p.cfg.Registry.CreateToken(v.ctx, registry.TokenSpec{
		Label: strings.TrimSpace(v.Typed("label")), Scopes: set, TTL: ttl, Key: v.key(),
	})
	if err != nil {
		return "", err
	}
	v.Token = &madeToken{token, made}
	v.Form = nil
	return "", nil
}

func (p *Pages) askRevokeToken(v *view) error {
	id, ok := v.shortID()
	if !ok {
		return registry.ErrTokenNotFound
	}
	t, err := p.cfg.Registry.Token(v.ctx, id)
	if err != nil {
		return err
	}
	name := t.ID.String()
	if t.Label != "" {
		name = "“" + t.Label + "”"
	}
	q := question{Ask: "Revoke the token " + name + "?", Do: "Revoke it", Grave: true, Back: "/access", Means: []string{
		"It is good no more, at once. Browsers that were signed in with it are signed out.",
	}}
	if t.Session {
		q.Ask, q.Do, q.Means = "Sign "+name+" out?", "Sign it out", []string{"That browser has to sign in again. The token it has signed in with stays good."}
		if t.ID == v.Session.ID {
			q.Means = []string{"This is the browser you are using now."}
		}
	}
	v.Data = q
	return nil
}

func (p *Pages) revokeToken(v *view) (string, error) {
	id, ok := v.shortID()
	if !ok {
		return "", registry.ErrTokenNotFound
	}
	t, err := p.cfg.Registry.Token(v.ctx, id)
	if err != nil {
		return "", err
	}
	if t.Session {
		return with("/access", "did", "session-revoked"), p.cfg.Registry.CloseSession(v.ctx, t)
	}
	return with("/access", "did", "token-revoked"), p.cfg.Registry.RevokeToken(v.ctx, id)
}
