package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/proto/ident"
)

// Status is what a session is doing.
type Status struct {
	Remote      ident.PeerID       `json:"peer"`
	Linked      bool               `json:"linked"`
	Since       time.Time          `json:"since"`            // of Linked being as it is
	Reason      string             `json:"reason,omitempty"` // why the last active link ended
	Links       []LinkStatus       `json:"links"`            // the best first
	Attachments []AttachmentStatus `json:"attachments"`      // by number
	Counters    Counters           `json:"counters"`
}

// LinkStatus is one link of a session.
type LinkStatus struct {
	Path   link.Path  `json:"path"`
	Rank   string     `json:"rank"` // the path's rank in words
	Stats  link.Stats `json:"stats"`
	Ready  bool       `json:"ready"`  // the Hellos were exchanged
	Active bool       `json:"active"` // this end sends on it
	Since  time.Time  `json:"since"`
}

// AttachmentStatus is one attachment of a session.
type AttachmentStatus struct {
	Number   uint16    `json:"attachment"`
	Client   bool      `json:"client"` // this end uses the device; otherwise it shares it
	Device   string    `json:"device"` // its id on its host
	Name     string    `json:"name"`
	Since    time.Time `json:"since"`
	Pending  int       `json:"pending"`   // URBs submitted and not completed
	Done     uint64    `json:"done"`      // URBs completed
	BytesIn  uint64    `json:"bytes_in"`  // read from the device
	BytesOut uint64    `json:"bytes_out"` // written to it
}

// Counters count since the session began.
type Counters struct {
	FramesSent     uint64 `json:"frames_sent"` // again and again included
	FramesReceived uint64 `json:"frames_received"`
	Duplicates     uint64 `json:"duplicates"` // received again, and dropped
	Switches       uint64 `json:"switches"`   // a link became the active one
	Losses         uint64 `json:"losses"`     // the last link was lost
	Resets         uint64 `json:"resets"`     // attachments were dropped
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

// Status returns what the session is doing now.
func (s *Session) Status() Status {
	s.mu.Lock()
	st := Status{
		Remote: s.cfg.Remote, Linked: s.links.active != nil, Since: s.links.since,
		Reason: s.links.reason, Counters: s.counters,
	}
	var links []*linkRun
	for l := range s.links.all {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b *linkRun) int { return b.order.compare(a.order) })
	for _, l := range links {
		path := l.link.Info().Path
		st.Links = append(st.Links, LinkStatus{
			Path: path, Rank: path.Rank.String(), Ready: l.isReady, Active: l == s.links.active, Since: l.began,
		})
	}
	var users []interface{ status() AttachmentStatus }
	for _, d := range s.state.far {
		users = append(users, d)
	}
	for _, h := range s.state.hosted {
		users = append(users, h)
	}
	s.mu.Unlock()
	for i, l := range links {
		st.Links[i].Stats = l.link.Stats()
	}
	for _, u := range users {
		if a := u.status(); !a.Since.IsZero() {
			st.Attachments = append(st.Attachments, a)
		}
	}
	slices.SortFunc(st.Attachments, func(a, b AttachmentStatus) int { return cmp.Compare(a.Number, b.Number) })
	return st
}
