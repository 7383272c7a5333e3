package registry

import (
	"context"
	"errors"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// Error is an error that a request of a peer or an administrator can cause. A
// failure of the database is not one. Errors are compared by identity.
type Error struct {
	Text string
	// Code is the error's code in the REST interface, "" if it has none.
	Code api.Code
	// Refusal is the reason under which the audit log and the metrics count the
	// error, "" if it is not a refusal.
	Refusal string
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Errors that several packages return.
var (
	// ErrUnavailable is wrapped by every failure of the database.
	ErrUnavailable = errors.New("the database cannot be used")

	ErrUnauthenticated = &Error{Text: "the token is not good", Code: api.CodeUnauthenticated, Refusal: "token"}
	ErrIdempotency     = &Error{Text: "the key was used for another request", Code: api.CodeIdempotency}
	// ErrLimited is the refusal of a request beyond a rate limit.
	ErrLimited = &Error{Text: "too many requests", Refusal: "rate"}
)

// Expected reports whether err is or wraps an [Error], in contrast to a failure
// of the database.
func Expected(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

// CodeOf returns the REST code of an error, if it has one. An expired deadline
// counts as an unavailable database.
func CodeOf(err error) (code api.Code, ok bool) {
	var e *Error
	switch {
	case errors.As(err, &e) && e.Code != "":
		return e.Code, true
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return api.CodeUnavailable, true
	}
	return "", false
}

// Replace returns the error to if err is or wraps the error from, and otherwise
// err.
func Replace(err, from, to error) error {
	if errors.Is(err, from) {
		return to
	}
	return err
}
