package session

// Linked reports whether a link to the peer is up.
func (s *Session) Linked() bool { return s.linked() }

// Attached reports whether a device is attached, in either direction.
func (s *Session) Attached() bool {
	s.mu.Lock()
	devices := make([]interface{ status() AttachmentStatus }, 0, len(s.state.far)+len(s.state.hosted))
	for _, d := range s.state.far {
		devices = append(devices, d)
	}
	for _, h := range s.state.hosted {
		devices = append(devices, h)
	}
	s.mu.Unlock()
	for _, d := range devices {
		if !d.status().Since.IsZero() {
			return true
		}
	}
	return false
}

// ActiveLink returns the link that carries the session. It returns false if no
// link is up.
func (s *Session) ActiveLink() (LinkStatus, bool) {
	s.mu.Lock()
	l := s.links.active
	s.mu.Unlock()
	if l == nil {
		return LinkStatus{}, false
	}
	info := l.link.Info()
	return LinkStatus{
		Path: info.Path, Rank: info.Path.Rank.String(), Stats: l.link.Stats(), Ready: true, Active: true, Since: l.began,
	}, true
}
