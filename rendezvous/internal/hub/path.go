package hub

import (
	"context"
	"errors"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

// path takes what the peer says of its link to another, if that other lets it
// signal it: of strangers nothing is believed. Nobody waits for an answer.
func (s *session) path(ctx context.Context, m signal.LinkReport) {
	switch {
	case s.hub.features&signal.FeatureLinkReports == 0, !s.budget.take(s.hub.now(), messageCost(0)):
	case m.Kind == signal.LinkNone, !errors.Is(s.hub.consents.check(ctx, m.Peer, s.id), signal.FailureNotAllowed):
		s.hub.cluster.Path(s.id, s.since, m) // also while nobody can tell whether it may: it will not be said again
	}
}
