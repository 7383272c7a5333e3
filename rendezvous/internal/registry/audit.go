package registry

import (
	"context"
	"net/netip"
	"strings"
)

// Origin is who asks and from where, for the audit log.
type Origin struct {
	Actor  string       // as in Event; "" is the server itself
	Source netip.Prefix // zero if unknown
}

type originKey struct{}

// WithOrigin says on whose behalf the registry is asked under a context.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns what WithOrigin said.
func OriginOf(ctx context.Context) Origin { return originOf(ctx) }

func originOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	if o.Actor == "" {
		o.Actor = "server"
	}
	return o
}

// event begins an event of what is asked under a context.
func (r *Registry) event(ctx context.Context, kind EventKind) Event {
	o := originOf(ctx)
	e := Event{At: r.cfg.Now(), Kind: kind, Actor: o.Actor, Count: 1}
	switch {
	case !o.Source.IsValid():
	case o.Source.IsSingleIP():
		e.Source = o.Source.Addr().String()
	default:
		e.Source = o.Source.String()
	}
	return e
}

// detail joins what is not empty.
func detail(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	d := []rune(strings.Join(kept, " "))
	return string(d[:min(len(d), MaxDetail)])
}

// Events returns part of the audit log, newest first.
func (r *Registry) Events(ctx context.Context, q EventQuery) ([]Event, error) {
	return r.cfg.Store.Events(ctx, q)
}
