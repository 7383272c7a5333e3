package httpapi

import (
	"encoding/json"
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

// bodyTimeout bounds the time that a body takes to arrive.
const bodyTimeout = 5 * time.Second

// withBody lists the problems of an operation that takes a body.
var withBody = []api.Code{api.CodeMalformed, api.CodeTooLarge, api.CodeMediaType, api.CodeTimeout}

func takesBody(codes []api.Code) bool { return slices.Contains(codes, api.CodeMediaType) }

// huma reads, bounds, decodes and validates bodies. This file adds what huma lacks:
//   - huma takes a body without a Content-Type for JSON, and ignores the charset; see
//     jsonBody.
//   - huma decodes text that is not UTF-8; see jsonFormat.
//   - huma answers a broken transfer with 500; see transferError.

// jsonBody lets a request pass whose header declares JSON in UTF-8. It runs after
// authentication.
func (e *endpoints) jsonBody(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	if !isJSON(r.Header.Values("Content-Type")) {
		e.problems.refuse(ctx, api.NewProblem(api.CodeMediaType))
		return
	}
	r.Body = transferReader{r.Body}
	next(ctx)
}

// isJSON reports whether there is exactly one Content-Type, and it is application/json
// without a charset or with the charset UTF-8.
func isJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	kind, parameters, err := mime.ParseMediaType(values[0])
	charset, other := parameters["charset"]
	return err == nil && kind == "application/json" && (!other || strings.EqualFold(charset, "utf-8"))
}

// jsonFormat encodes and decodes JSON. Unlike huma's format it refuses text that
// is not UTF-8 (RFC 8259 section 8.1).
var jsonFormat = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, v any) error {
		if !utf8.Valid(data) {
			return errNotUTF8
		}
		return json.Unmarshal(data, v)
	},
}

var errNotUTF8 = errors.New("the body is not UTF-8")

// transferError is the error of a body that did not arrive as HTTP requires. The
// client or the network is at fault, so the answer is api.CodeMalformed.
type transferError struct{ err error }

// Error describes the fault.
func (t transferError) Error() string { return "read the body: " + t.err.Error() }

// Unwrap returns the error of the connection.
func (t transferError) Unwrap() error { return t.err }

// transferReader marks the errors of a body with transferError. It leaves
// timeouts as they are: huma answers them with 408.
type transferReader struct{ io.ReadCloser }

// Read reads from the body.
func (t transferReader) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	var failed net.Error
	if err == nil || errors.Is(err, io.EOF) || errors.As(err, &failed) && failed.Timeout() {
		return n, err
	}
	return n, transferError{err}
}
