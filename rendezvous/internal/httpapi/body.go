package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/easyfind-usb/easyfind/proto/api"
)

// bodyTime bounds how long a body takes to arrive.
const bodyTime = 5 * time.Second

// withBody is the codes of an operation that takes a body.
var withBody = []api.Code{api.CodeMalformed, api.CodeTooLarge, api.CodeMediaType, api.CodeTimeout}

func takesBody(codes []api.Code) bool { return slices.Contains(codes, api.CodeMediaType) }

// body lets a request pass whose body is JSON in UTF-8 by its header and its
// bytes, whole, and within the bound. It stands behind the guards that ask who
// it is. huma, which reads the body again, would guess the type of one that has
// none, replace what is no UTF-8, and take a broken transfer for its own failure.
func (s *server) body(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	if !isJSON(r.Header.Values("Content-Type")) {
		s.refuse(ctx, api.NewProblem(api.CodeMediaType))
		return
	}
	// Where there is no deadline to set, the server's own holds.
	_ = ctx.SetReadDeadline(time.Now().Add(bodyTime))
	raw, code := readBody(r.Body)
	if code != "" {
		s.refuse(ctx, api.NewProblem(code))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	next(ctx)
}

// readBody reads a whole body, or says why it cannot be taken.
func readBody(body io.Reader) ([]byte, api.Code) {
	raw, err := io.ReadAll(io.LimitReader(body, api.MaxBody+1))
	var failed net.Error
	switch {
	case errors.As(err, &failed) && failed.Timeout():
		return nil, api.CodeTimeout
	case len(raw) > api.MaxBody:
		return nil, api.CodeTooLarge
	case err != nil || !utf8.Valid(raw):
		return nil, api.CodeMalformed
	}
	return raw, ""
}

// isJSON reports whether the values of Content-Type are one, which is JSON's,
// and no other charset than JSON's is with it.
func isJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	kind, parameters, err := mime.ParseMediaType(values[0])
	charset, other := parameters["charset"]
	return err == nil && kind == "application/json" && (!other || strings.EqualFold(charset, "utf-8"))
}
