package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/session/transport"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Status describes a session.
type Status struct {
	Remote      ident.PeerID       `json:"peer"`
	Linked      bool               `json:"linked"`
	Since       time.Time          `json:"since"`            // of the last change of Linked
	Reason      string             `json:"reason,omitempty"` // why the last active link ended
	Links       []LinkStatus       `json:"links"`            // the one of the highest rank first
	Choice      string             `json:"choice,omitempty"` // why the active link is not that one
	Limit       uint64             `json:"limit,omitempty"`  // of each direction, in bits per second; 0: none
	Attachments []AttachmentStatus `json:"attachments"`      // by number
	Counters    Counters           `json:"counters"`
}

// LinkStatus describes one link of a session.
type LinkStatus struct {
	Path   link.Path  `json:"path"`
	Rank   string     `json:"rank"` // the path's rank in words
	Stats  link.Stats `json:"stats"`
	Ready  bool       `json:"ready"`  // the Hellos were exchanged
	Active bool       `json:"active"` // this agent sends on it
	Since  time.Time  `json:"since"`
}

// AttachmentStatus describes one attachment of a session.
type AttachmentStatus struct {
	Number   uint16    `json:"attachment"`
	Client   bool      `json:"client"` // this agent uses the device; otherwise it shares it
	Device   string    `json:"device"` // its id on its host
	Name     string    `json:"name"`
	Since    time.Time `json:"since"`
	Limit    uint64    `json:"limit,omitempty"` // of each direction, in bits per second; 0: none
	Pending  int       `json:"pending"`         // URBs submitted and not completed
	Done     uint64    `json:"done"`            // URBs completed
	BytesIn  uint64    `json:"bytes_in"`        // read from the device
	BytesOut uint64    `json:"bytes_out"`       // written to it
}

// Counters are numbers of events since the session was made.
type Counters struct {
	FramesSent     uint64 `json:"frames_sent"` // frames that were sent again count again
	FramesReceived uint64 `json:"frames_received"`
	Expired        uint64 `json:"expired"`    // isochronous frames that could not be sent in time and were dropped
	Duplicates     uint64 `json:"duplicates"` // frames that arrived again and were dropped
	Switches       uint64 `json:"switches"`   // times that a link became the active one
	Losses         uint64 `json:"losses"`     // times that the last link was lost
	Resets         uint64 `json:"resets"`     // times that attachments were dropped
}

// traffic counts the URBs of an attachment.
type traffic struct{ done, in, out uint64 }

func (t *traffic) count(in bool, actual int) {
	t.done++
	if in {
		t.in += uint64(actual)
	} else {
		t.out += uint64(actual)
	}
}

// status returns a with the counters.
func (t *traffic) status(a AttachmentStatus) AttachmentStatus {
	a.Done, a.BytesIn, a.BytesOut = t.done, t.in, t.out
	return a
}

// Status returns the current status of the session.
func (s *Session) Status() Status {
	links, counters := s.transport.Status(), s.transport.Counters()
	st := Status{
		Remote: s.cfg.Remote, Linked: links.Linked, Since: links.Since, Reason: links.Reason, Choice: links.Choice,
		Limit: links.Limit,
	}
	for _, l := range links.Links {
		st.Links = append(st.Links, linkStatus(l))
	}
	s.mu.Lock()
	st.Counters = Counters{
		FramesSent: counters.FramesSent, FramesReceived: counters.FramesReceived,
		Expired: counters.Expired, Duplicates: counters.Duplicates,
		Switches: counters.Switches, Losses: counters.Losses, Resets: s.resets,
	}
	s.mu.Unlock()
	for _, a := range s.all() {
		if status, ok := a.status(); ok {
			st.Attachments = append(st.Attachments, status)
		}
	}
	slices.SortFunc(st.Attachments, func(a, b AttachmentStatus) int { return cmp.Compare(a.Number, b.Number) })
	return st
}

func linkStatus(l transport.LinkStatus) LinkStatus {
	path := l.Link.Info().Path
	return LinkStatus{
		Path: path, Rank: path.Rank.String(), Stats: l.Link.Stats(), Ready: l.Ready, Active: l.Active, Since: l.Since,
	}
}

// attachment is an attachment of either role.
type attachment interface {
	// status returns false before the device is attached.
	status() (AttachmentStatus, bool)
}

// all returns the attachments of both roles.
func (s *Session) all() []attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]attachment, 0, len(s.current.remote)+len(s.current.exported))
	for _, d := range s.current.remote {
		all = append(all, d)
	}
	for _, x := range s.current.exported {
		all = append(all, x)
	}
	return all
}

// Linked reports whether a link to the peer is up.
func (s *Session) Linked() bool { return s.transport.Status().Linked }

// Attached reports whether a device is attached, in either direction.
func (s *Session) Attached() bool {
	return slices.ContainsFunc(s.all(), func(a attachment) bool {
		_, ok := a.status()
		return ok
	})
}

// ActiveLink returns the link that carries the session. It returns false if no link is up.
func (s *Session) ActiveLink() (LinkStatus, bool) {
	for _, l := range s.transport.Status().Links {
		if l.Active {
			return linkStatus(l), true
		}
	}
	return LinkStatus{}, false
}

// BestRank returns the highest rank of the links that are up, 0 if none is.
func (s *Session) BestRank() link.Rank {
	var best link.Rank
	for _, l := range s.transport.Status().Links {
		if l.Ready {
			best = max(best, l.Link.Info().Path.Rank)
		}
	}
	return best
}

// Choice returns why the active link is not the one of the highest rank, as a text for a person. It is empty if it is.
func (s *Session) Choice() string { return s.transport.Status().Choice }

// Holds reports whether the peer has a device (ok), whether a link is up, and since when. Another peer may have a
// device whose holder's link is lost: [Session.Revoke] takes it back. A dead link is noticed within 9 s.
func (s *Session) Holds(deviceID string) (linked bool, since time.Time, ok bool) {
	s.mu.Lock()
	for x := range s.holders {
		ok = ok || x.request.Device == deviceID && !x.isEnding()
	}
	s.mu.Unlock()
	links := s.transport.Status()
	return links.Linked, links.Since, ok
}
