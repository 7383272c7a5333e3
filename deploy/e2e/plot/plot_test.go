package plot_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/deploy/e2e/plot"
)

// TestChartIsAnImage draws odd values: none, equal ones, of many magnitudes, with labels
// that must be escaped.
func TestChartIsAnImage(t *testing.T) {
	for name, rows := range map[string][]plot.Row{
		"nothing": nil, "not measured": {{"a", []float64{0, -1}}}, "one value": {{"a", []float64{1}}},
		"equal": {{"a", []float64{5, 5}}}, "far apart": {{"<b> & c", []float64{0.003, 12345}}},
	} {
		image := plot.Chart{Title: "Reading & writing", Unit: "MB/s", Series: []string{"x", "y"}, Rows: rows}.SVG()
		d := xml.NewDecoder(bytes.NewReader(image))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, image)
			}
		}
		if bytes.Contains(image, []byte("NaN")) || bytes.Contains(image, []byte("Inf")) {
			t.Errorf("%s: a place is not a number:\n%s", name, image)
		}
		if !strings.Contains(string(image), "prefers-color-scheme:dark") {
			t.Errorf("%s: there are no colours for dark pages", name)
		}
	}
}
