package localapi

import (
	"errors"
	"net/http"
)

// Code is the kind of a problem, for programs.
type Code string

// The codes. The number in each comment is the exit code of the command line.
const (
	CodeFailed       Code = "failed"        // 1  any other problem
	CodeInvalid      Code = "invalid"       // 2  the request is not valid
	CodeNotRunning   Code = "not_running"   // 3  no agent answers on the socket
	CodeUnknown      Code = "unknown"       // 4  no such device, peer or use
	CodeInUse        Code = "in_use"        // 5  the device is in use
	CodePermission   Code = "permission"    // 6  this system or the other machine refuses it
	CodePairing      Code = "pairing"       // 7  wrong PIN, or an address that is unknown, expired or burned
	CodeUnreachable  Code = "unreachable"   // 8  the peer or the rendezvous cannot be reached
	CodeNotSupported Code = "not_supported" // 9  this machine cannot do it, for example without vhci_hcd
)

// codes maps each code to its HTTP status and exit code.
var codes = map[Code]struct{ status, exit int }{
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

// Problem is an error in one sentence for a person. The sentence also says what to do.
type Problem struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// Error returns the sentence.
func (p *Problem) Error() string { return p.Detail }

// ProblemOf returns the Problem that err is or wraps, or else a Problem with the text
// of err and CodeFailed.
func ProblemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return &Problem{Code: CodeFailed, Detail: err.Error()}
}

// ExitCode returns the exit code of a program that fails with err; see the list of
// codes. It returns 0 if err is nil.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if k, ok := codes[ProblemOf(err).Code]; ok {
		return k.exit
	}
	return codes[CodeFailed].exit
}

func (p *Problem) status() int {
	if k, ok := codes[p.Code]; ok {
		return k.status
	}
	return http.StatusInternalServerError
}
