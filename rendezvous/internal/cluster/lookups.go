package cluster

import (
	"context"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// maxQuestions bounds the lookups under way at a time. One for 100 peers costs
// the database as much as five for one each.
const maxQuestions = 4

// found is the answer to a lookup.
type found struct {
	at     registry.Location
	online bool
}

func (k *Cluster) newLookups() *batch.Batch[ident.PeerID, found] {
	return batch.New(batch.Config[ident.PeerID, found]{Do: k.locateAll, Most: registry.MaxBatch, Runs: maxQuestions, Wait: storeWait})
}

// locateAll asks the store, and who the instances are that it names, where these
// are not known yet.
func (k *Cluster) locateAll(ctx context.Context, ids []ident.PeerID) []batch.Answer[found] {
	at, err := k.store.LocatePeers(ctx, ids, k.moment())
	if err != nil {
		return batch.Failed[found](len(ids), err)
	}
	for _, l := range at {
		if l.Instance != k.name && !k.isMember(l.Instance, l.Epoch) {
			err = k.readMembers(ctx)
			break
		}
	}
	answers := make([]batch.Answer[found], len(ids))
	for i, id := range ids {
		where, online := at[id]
		answers[i] = batch.Answer[found]{Value: found{where, online}, Err: err}
	}
	return answers
}

// readMembers asks who has a lease.
func (k *Cluster) readMembers(ctx context.Context) error {
	list, err := k.store.Instances(ctx, k.moment())
	if err == nil {
		k.setMembers(list)
	}
	return err
}

// isMember reports whether an instance has a lease, of this epoch or a later one.
func (k *Cluster) isMember(name string, epoch int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, there := k.members[name]
	return there && epoch != 0 && epoch <= i.Epoch
}
