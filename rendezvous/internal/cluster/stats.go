package cluster

// Stats is how this instance stands among the others at a moment.
type Stats struct {
	Held      bool  // the lease
	Epoch     int64 // of the lease
	Instances int   // with a lease, this one too if it has one
	Links     int   // to other instances
	Backlog   int   // peers whose coming or going is not written yet
}

// Stats tells it.
func (k *Cluster) Stats() Stats {
	k.mu.Lock()
	s := Stats{Held: k.held, Epoch: k.epoch, Instances: len(k.members), Links: len(k.links)}
	k.mu.Unlock()
	if s.Held {
		s.Instances++
	}
	k.presence.mu.Lock()
	defer k.presence.mu.Unlock()
	s.Backlog = len(k.presence.changes)
	return s
}
