package web

import (
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// overview is the first page.
type overview struct {
	Registered int
	Online     int
	Instances  []registry.InstanceAt
	Joining    string // the link, shown only while nobody has joined
}

func (p *Pages) loadOverview(v *view) error {
	o := overview{Registered: p.cfg.Registry.Registered()}
	var err error
	if o.Instances, err = p.cfg.Registry.Instances(v.ctx); err != nil {
		return err
	}
	for _, i := range o.Instances {
		o.Online += i.Peers
	}
	if o.Online > o.Registered { // counted a moment later
		o.Registered = o.Online
	}
	if o.Registered == 0 && v.May(api.ScopeInvites) && p.cfg.Registry.Open() {
		o.Joining = p.cfg.JoinLink("")
	}
	v.Data = o
	return nil
}
