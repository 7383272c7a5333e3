package front

// Stats is how the front door is at a moment.
type Stats struct {
	Connections int    // that are served, of every kind
	Waiting     int    // of them, those that have not said yet what they want
	Refused     uint64 // ever, because their source had too many
}

// Stats counts the connections.
func (f *Front) Stats() Stats {
	f.mu.Lock()
	s := Stats{Connections: len(f.conns)}
	f.mu.Unlock()
	f.limits.mu.Lock()
	defer f.limits.mu.Unlock()
	s.Waiting, s.Refused = f.limits.waiting.Len(), f.limits.refused
	return s
}
