package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

// AddPeer remembers a peer, or what is new about one that is known. A name that
// another peer has gets a number behind it; the peer is returned as it is kept.
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

// ForgetPeer ends the trust in a peer, its part in shares, and what is used of
// it. A share that was for this peer alone goes too: it must not become one for
// everybody.
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

// SetAddresses replaces the direct addresses of a peer.
func (s *Store) SetAddresses(id ident.PeerID, addresses []string) error {
	return s.change(func(st *State) error {
		i := slices.IndexFunc(st.Peers, func(p Peer) bool { return p.ID == id })
		if i < 0 {
			return ErrUnknownPeer
		}
		st.Peers[i].Addresses = slices.Clone(addresses)
		return nil
	})
}

// PutShare shares a device, or changes how it is shared.
func (s *Store) PutShare(sh Share) error {
	return s.change(func(st *State) error {
		st.Shares = slices.DeleteFunc(st.Shares, func(o Share) bool { return o.Device == sh.Device })
		st.Shares = append(st.Shares, sh)
		slices.SortFunc(st.Shares, func(a, b Share) int { return cmp.Compare(a.Device, b.Device) })
		return nil
	})
}

// RemoveShare ends a share, or is ErrNotShared.
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

// PutUse remembers a use, or changes its mode.
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

// RemoveUse ends a use, or is ErrNotUsed.
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
