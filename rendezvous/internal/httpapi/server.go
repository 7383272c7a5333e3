package httpapi

import (
	"context"
	"net/http"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// serverHandler describes this rendezvous and issues relay credentials.
type serverHandler struct {
	registration Registration
	info         api.Server
	relay        Credentials // nil if the server has no relay
}

func (h *serverHandler) mount(e *endpoints) {
	mount(e, http.MethodGet, api.PathServer, operation{
		id: "server", summary: "Describe this rendezvous and its services",
	}, h.server)
	mount(e, http.MethodPost, api.PathRelay, operation{
		id: "relay-credentials", summary: "Issue credentials for the relay, valid for a limited time",
		codes: []api.Code{api.CodeRelayUnavailable},
	}, h.credentials)
}

func (h *serverHandler) server(context.Context, *empty) (*output[api.Server], error) {
	out := h.info
	out.SignalALPN, out.SignalPath = api.SignalALPN, api.PathSignal
	out.Open = h.registration.Open()
	out.STUN, out.TURN = append([]string{}, out.STUN...), append([]string{}, out.TURN...)
	return &output[api.Server]{out}, nil
}

func (h *serverHandler) credentials(ctx context.Context, _ *empty) (*output[api.RelayCredentials], error) {
	if h.relay == nil {
		return nil, api.NewProblem(api.CodeRelayUnavailable)
	}
	c, err := h.relay.Credentials(ctx, caller(ctx))
	return &output[api.RelayCredentials]{c}, err
}
