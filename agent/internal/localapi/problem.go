package localapi

import (
	"errors"
	"net/http"
)

// Code says what kind of problem it is, for programs.
type Code string

// The codes. The column on the right is the command line's exit code.
const (
	CodeFailed       Code = "failed"        // 1  everything that has no code of its own
	CodeInvalid      Code = "invalid"       // 2  the request makes no sense
	CodeNotRunning   Code = "not_running"   // 3  no agent answers on the socket
	CodeUnknown      Code = "unknown"       // 4  no such device, peer or use
	CodeInUse        Code = "in_use"        // 5  the device is in use
	CodePermission   Code = "permission"    // 6  the system or the other machine does not permit it
	CodePairing      Code = "pairing"       // 7  wrong PIN, or an address that is unknown, expired or burned
	CodeUnreachable  Code = "unreachable"   // 8  the peer or the rendezvous cannot be reached
	CodeNotSupported Code = "not_supported" // 9  this machine cannot do it (no vhci module)
)

// kinds is the table of codes.
var kinds = map[Code]struct{ status, exit int }{
	CodeFailed:       {http.StatusInternalServerError, 1},
	CodeInvalid:      {http.StatusBadRequest, 2},
	CodeNotRunning:   {http.StatusServiceUnavailable, 3},
	CodeUnknown:      {http.StatusNotFound, 4},
	CodeInUse:        {http.StatusConflict, 5},
	CodePermission:   {http.StatusForbidden, 6},
	CodePairing:      {http.StatusUnprocessableEntity, 7},
	CodeUnreachable:  {http.StatusBadGateway, 8},
	CodeNotSupported: {http.StatusNotImplemented, 9},
}

// Problem is what went wrong, in one sentence that also says what to do.
type Problem struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// Error is the sentence.
func (p *Problem) Error() string { return p.Detail }

// ProblemOf is err itself if it is or wraps a Problem, else its text with
// CodeFailed.
func ProblemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return &Problem{Code: CodeFailed, Detail: err.Error()}
}

// ExitCode is what a program exits with because of err: 0 for nil, 1 to 9 as
// the codes have it.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if k, ok := kinds[ProblemOf(err).Code]; ok {
		return k.exit
	}
	return kinds[CodeFailed].exit
}

func (p *Problem) status() int {
	if k, ok := kinds[p.Code]; ok {
		return k.status
	}
	return http.StatusInternalServerError
}
