package hub

import (
	"context"
	"errors"

	"github.com/easyfind-usb/easyfind/proto/signal"
)

// reportLink passes on a link report of the peer, if the peer may send messages to the other peer of the link. A report
// about a stranger is dropped. Reports have no answer.
func (c *connection) reportLink(ctx context.Context, m signal.LinkReport) {
	if c.hub.features&signal.FeatureLinkReports == 0 || !c.rate.AllowN(c.hub.now(), messageCost(0)) {
		return
	}
	if m.Kind != signal.LinkNone && errors.Is(c.hub.consents.check(ctx, c.route(m.Peer)), signal.FailureNotAllowed) {
		return
	}
	// A report passes also while the registry does not answer, because the peer does not repeat it.
	c.hub.cluster.ReportLink(c.peer, c.since, m)
}
