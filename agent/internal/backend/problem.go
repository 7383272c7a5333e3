package backend

import (
	"errors"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/localapi"
	"github.com/easyfind-usb/easyfind/agent/internal/rvclient"
	"github.com/easyfind-usb/easyfind/agent/internal/session"
	"github.com/easyfind-usb/easyfind/agent/internal/state"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/agent/internal/usbip"
)

// problem returns an error as a *localapi.Problem, and nil for nil.
func problem(err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*localapi.Problem](err); ok {
		return p
	}
	return &localapi.Problem{Code: codeOf(err), Detail: err.Error()}
}

// codes lists the errors that have a code of their own.
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

// invalid returns a problem with a request.
func invalid(format string, args ...any) error {
	return &localapi.Problem{Code: localapi.CodeInvalid, Detail: fmt.Sprintf(format, args...)}
}

func codeOf(err error) localapi.Code {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return localapi.CodeFailed
}
