package agent

import (
	"errors"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
)

// problem puts an error into the local interface's words; nil stays nil.
func problem(err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*localapi.Problem](err); ok {
		return p
	}
	return &localapi.Problem{Code: codeOf(err), Detail: err.Error()}
}

var codes = []struct {
	err  error
	code localapi.Code
}{
	{usb.ErrNotFound, localapi.CodeUnknown},
	{state.ErrUnknownPeer, localapi.CodeUnknown},
	{state.ErrNotShared, localapi.CodeUnknown},
	{state.ErrNotUsed, localapi.CodeUnknown},
	{state.ErrAmbiguous, localapi.CodeInvalid},
	{usb.ErrInUse, localapi.CodeInUse},
	{usbip.ErrNoVHCI, localapi.CodeNotSupported},
	{usbip.ErrNoPort, localapi.CodeInUse},
	{usb.ErrPermission, localapi.CodePermission},
	{session.ErrDenied, localapi.CodePermission},
	{session.ErrChanged, localapi.CodePermission},
	{rvclient.ErrNotConnected, localapi.CodeUnreachable},
	{rvclient.ErrUnavailable, localapi.CodeUnreachable},
	{rvclient.ErrPeerOffline, localapi.CodeUnreachable},
}

func codeOf(err error) localapi.Code {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return localapi.CodeFailed
}
