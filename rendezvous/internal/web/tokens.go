package web

import (
	"slices"
	"strings"
	"time"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
)

// tokenPages shows and changes who has access: the tokens, and the browsers that
// are signed in.
type tokenPages struct {
	tokens  Tokens
	signIns SignIns
	now     func() time.Time
}

func (p *tokenPages) pages() []page {
	return []page{
		{
			path: "/access", name: "access", title: "Access", nav: "access", scope: api.ScopeAdmin,
			load: p.load, post: p.create,
		},
		{
			path: "/access/{id}", name: "confirm", title: "Revoke a token", nav: "access", scope: api.ScopeAdmin,
			load: p.askRevoke, post: p.revoke,
		},
	}
}

// accessPage is the data of the page.
type accessPage struct {
	Scopes   []scopeChoice
	Lifetime []choice
	Tokens   []tokenRow
	SignIns  []tokenRow
	Beyond   bool // there are more than are shown
}

// scopeChoice is a scope in the form for a new token.
type scopeChoice struct {
	Scope   api.Scope
	Means   string
	Checked bool
}

var scopeWords = map[api.Scope]string{
	api.ScopePeers:   "see, rename, revoke and approve peers; see pairs and the use of the relay",
	api.ScopeInvites: "create, see and revoke invites",
	api.ScopeAudit:   "see the audit log, the instances and the history",
	api.ScopeAdmin:   "everything, including these tokens",
}

// tokenRow is a token or a sign-in with what the page shows of it.
type tokenRow struct {
	administration.Token
	Valid  bool
	This   bool   // it is the sign-in of the browser that shows the page
	Parent string // what the browser signed in with
}

// ScopeList returns the names of the scopes.
func (t tokenRow) ScopeList() string {
	var all []string
	for _, s := range t.Scopes.List() {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

// newToken is a token that was just created. The page shows it once.
type newToken struct {
	Secret string
	Token  administration.Token
}

func (p *tokenPages) load(v *view) error {
	page := accessPage{Lifetime: lifetimes}
	for _, s := range api.Scopes {
		page.Scopes = append(page.Scopes, scopeChoice{s, scopeWords[s], slices.Contains(v.Form["scopes"], string(s))})
	}
	all, err := p.tokens.Tokens(v.ctx, registry.Page{Limit: maxSorted})
	if err != nil {
		return err
	}
	page.Beyond = len(all) == maxSorted
	valid := map[registry.TokenPrefix]bool{}
	labels := map[registry.TokenPrefix]string{}
	for _, t := range all {
		valid[t.ID] = !t.Revoked && p.now().Before(t.Expires)
		labels[t.ID] = t.Label
	}
	slices.Reverse(all)
	for _, t := range all {
		row := tokenRow{Token: t, Valid: valid[t.ID], This: t.ID == v.SignIn.ID, Parent: "the one-time link"}
		if t.Parent != (registry.TokenPrefix{}) {
			row.Valid = row.Valid && valid[t.Parent]
			row.Parent = "token " + t.Parent.String() + " " + labels[t.Parent]
		}
		switch {
		case !t.SignIn:
			page.Tokens = append(page.Tokens, row)
		case row.Valid:
			page.SignIns = append(page.SignIns, row)
		}
	}
	v.Data = page
	return nil
}

func (p *tokenPages) create(v *view) (string, error) {
	ttl, err := v.lifetime()
	if err != nil {
		return "", err
	}
	var scopes []api.Scope
	for _, s := range v.Form["scopes"] {
		scopes = append(scopes, api.Scope(s))
	}
	set, err := administration.ScopesOf(scopes)
	if err != nil {
		return "", formError("Choose at least one scope for the token.")
	}
	secret, token, err := p.tokens.CreateToken(v.ctx, administration.TokenSpec{
		Label: strings.TrimSpace(v.FormValue("label")), Scopes: set, TTL: ttl, Key: v.idempotencyKey(),
	})
	if err != nil {
		return "", err
	}
	v.NewToken = &newToken{secret, token}
	v.Form = nil
	return "", nil
}

func (p *tokenPages) askRevoke(v *view) error {
	id, ok := v.shortID()
	if !ok {
		return administration.ErrTokenNotFound
	}
	t, err := p.tokens.Token(v.ctx, id)
	if err != nil {
		return err
	}
	name := t.ID.String()
	if t.Label != "" {
		name = "“" + t.Label + "”"
	}
	q := question{
		Ask: "Revoke the token " + name + "?", Do: "Revoke it", Destructive: true, Back: "/access",
		Means: []string{
			"The token stops working immediately. Browsers that signed in with it are signed out.",
		},
	}
	if t.SignIn {
		q.Ask, q.Do = "Sign "+name+" out?", "Sign it out"
		q.Means = []string{"That browser must sign in again. The token that it signed in with keeps working."}
		if t.ID == v.SignIn.ID {
			q.Means = []string{"This is the browser that you are using now."}
		}
	}
	v.Data = q
	return nil
}

func (p *tokenPages) revoke(v *view) (string, error) {
	id, ok := v.shortID()
	if !ok {
		return "", administration.ErrTokenNotFound
	}
	t, err := p.tokens.Token(v.ctx, id)
	if err != nil {
		return "", err
	}
	if t.SignIn {
		return with("/access", "did", "sign-in-ended"), p.signIns.SignOut(v.ctx, t)
	}
	return with("/access", "did", "token-revoked"), p.tokens.RevokeToken(v.ctx, id)
}
