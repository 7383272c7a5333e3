package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// AddPeer stores a peer, or replaces a peer with the same ID. If p has no
// addresses, those of the replaced peer stay. If another peer has the same name,
// AddPeer appends a number to the name. It returns the peer as stored.
func (s *Store) AddPeer(p Peer) (Peer, error) {
	err := s.change(func(st *State) error {
		if old, ok := st.Peer(p.ID); ok && len(p.Addresses) == 0 {
			p.Addresses = old.Addresses
		}
		st.Peers = slices.DeleteFunc(st.Peers, func(o Peer) bool { return o.ID == p.ID })
		taken := func(name string) bool {
			return slices.ContainsFunc(st.Peers, func(o Peer) bool { return strings.EqualFold(o.Name, name) })
		}
		for base, n := p.Name, 2; taken(p.Name); n++ {
			p.Name = fmt.Sprintf("%s-%d", base, n)
		}
		st.Peers = append(st.Peers, p)
		slices.SortFunc(st.Peers, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
		return nil
	})
	return p, err
}

// ForgetPeer removes a peer, its name from shares, and the uses of its devices. A
// share for this peer alone is removed as well: with an empty list it would become
// a share for every peer.
func (s *Store) ForgetPeer(id ident.PeerID) error {
	return s.change(func(st *State) error {
		if _, ok := st.Peer(id); !ok {
			return ErrUnknownPeer
		}
		st.Peers = slices.DeleteFunc(st.Peers, func(p Peer) bool { return p.ID == id })
		st.Uses = slices.DeleteFunc(st.Uses, func(u Use) bool { return u.Peer == id })
		st.Shares = slices.DeleteFunc(st.Shares, func(sh Share) bool {
			return slices.Equal(sh.Peers, []ident.PeerID{id})
		})
		for i, sh := range st.Shares {
			st.Shares[i].Peers = slices.DeleteFunc(sh.Peers, func(p ident.PeerID) bool { return p == id })
		}
		return nil
	})
}

// SetAddresses replaces the direct addresses of a peer. It returns ErrUnknownPeer
// if the peer is not paired.
func (s *Store) SetAddresses(id ident.PeerID, addresses []string) error {
	return s.changePeer(id, func(p *Peer) { p.Addresses = slices.Clone(addresses) })
}

// SetLimit replaces the limit of a peer, in bits per second. It returns
// ErrUnknownPeer if the peer is not paired.
func (s *Store) SetLimit(id ident.PeerID, bits uint64) error {
	return s.changePeer(id, func(p *Peer) { p.Limit = bits })
}

func (s *Store) changePeer(id ident.PeerID, change func(*Peer)) error {
	return s.change(func(st *State) error {
		i := slices.IndexFunc(st.Peers, func(p Peer) bool { return p.ID == id })
		if i < 0 {
			return ErrUnknownPeer
		}
		change(&st.Peers[i])
		return nil
	})
}

// PutShare adds a share, or replaces the share of the same device.
func (s *Store) PutShare(sh Share) error {
	return s.change(func(st *State) error {
		st.Shares = slices.DeleteFunc(st.Shares, func(o Share) bool { return o.Device == sh.Device })
		st.Shares = append(st.Shares, sh)
		slices.SortFunc(st.Shares, func(a, b Share) int { return cmp.Compare(a.Device, b.Device) })
		return nil
	})
}

// RemoveShare removes the share of a device. It returns ErrNotShared if there is
// no such share.
func (s *Store) RemoveShare(device string) error {
	return s.change(func(st *State) error {
		before := len(st.Shares)
		st.Shares = slices.DeleteFunc(st.Shares, func(sh Share) bool { return sh.Device == device })
		if len(st.Shares) == before {
			return ErrNotShared
		}
		return nil
	})
}

// PutUse adds a use, or replaces the use of the same device.
func (s *Store) PutUse(u Use) error {
	return s.change(func(st *State) error {
		st.Uses = slices.DeleteFunc(st.Uses, func(o Use) bool { return o.Peer == u.Peer && o.Device == u.Device })
		st.Uses = append(st.Uses, u)
		slices.SortFunc(st.Uses, func(a, b Use) int {
			return cmp.Or(cmp.Compare(a.Device, b.Device), a.Peer.Compare(b.Peer))
		})
		return nil
	})
}

// RemoveUse removes a use. It returns ErrNotUsed if there is no such use.
func (s *Store) RemoveUse(peer ident.PeerID, device string) error {
	return s.change(func(st *State) error {
		before := len(st.Uses)
		st.Uses = slices.DeleteFunc(st.Uses, func(u Use) bool { return u.Peer == peer && u.Device == device })
		if len(st.Uses) == before {
			return ErrNotUsed
		}
		return nil
	})
}
