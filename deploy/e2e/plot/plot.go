// Package plot draws the figures of a benchmark as an SVG image that is readable on a
// light and on a dark page.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
)

// Chart is a dot plot on a logarithmic scale: a group of lines for each row, with a line
// and a dot for each series.
type Chart struct {
	Title  string
	Unit   string   // of the values
	Series []string // at most as many as there are colours: 4
	Rows   []Row
}

// Row holds the values of all series under one condition.
type Row struct {
	Label  string
	Values []float64 // in the order of Series; 0 or less: not measured
}

// Sizes in pixels.
const (
	width      = 760
	left       = 170 // of the first column, which holds the labels
	right      = 90  // for the value after the last dot
	top        = 74
	lineHeight = 17
	rowGap     = 11
	bottom     = 34
)

// style has a colour for each series, in both modes. Their lightness differs too, for
// readers who cannot tell the colours apart.
const style = `
text{font:13px system-ui,sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}
.note{fill:#59636e;font-size:12px}
.grid{stroke:#d1d9e0}
.s0{fill:#8b949e;stroke:#8b949e}.s1{fill:#0969da;stroke:#0969da}
.s2{fill:#1a7f37;stroke:#1a7f37}.s3{fill:#9a6700;stroke:#9a6700}
text.value{stroke:none}
@media(prefers-color-scheme:dark){
text{fill:#f0f6fc}.note{fill:#9198a1}.grid{stroke:#3d444d}
.s0{fill:#9198a1;stroke:#9198a1}.s1{fill:#58a6ff;stroke:#58a6ff}
.s2{fill:#3fb950;stroke:#3fb950}.s3{fill:#d29922;stroke:#d29922}}
`

// SVG returns the image.
func (c Chart) SVG() []byte {
	low, high := c.bounds()
	x := func(v float64) float64 {
		return left + (width-left-right)*(math.Log10(v)-low)/(high-low)
	}
	height := top + len(c.Rows)*(len(c.Series)*lineHeight+rowGap) + bottom
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`,
		width, height, width, height)
	fmt.Fprintf(&b, "\n<title>%s</title><style>%s</style>\n", escaped(c.Title), style)
	fmt.Fprintf(&b, `<text class="title" x="8" y="22">%s</text>`+"\n", escaped(c.Title))
	at := 8
	for n, name := range c.Series {
		fmt.Fprintf(&b, `<circle class="s%d" cx="%d" cy="45" r="5"/><text x="%d" y="50">%s</text>`+"\n",
			n, at+5, at+16, escaped(name))
		at += 40 + 8*len(name)
	}
	c.grid(&b, low, high, height, x)
	y := top
	for _, row := range c.Rows {
		middle := y + (len(c.Series)*lineHeight)/2 + 4
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-12, middle, escaped(row.Label))
		for n, v := range row.Values {
			if v > 0 {
				line := float64(y) + (float64(n)+0.5)*lineHeight
				fmt.Fprintf(&b, `<path class="s%d" d="M%d %.1fH%.1f" stroke-width="2"/>`, n, left, line, x(v))
				fmt.Fprintf(&b, `<circle class="s%d" cx="%.1f" cy="%.1f" r="5"/>`, n, x(v), line)
				fmt.Fprintf(&b, `<text class="value" x="%.1f" y="%.1f">%s</text>`+"\n", x(v)+9, line+5, Rounded(v))
			}
		}
		y += len(c.Series)*lineHeight + rowGap
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// bounds returns the decimal logarithms of the ends of the scale.
func (c Chart) bounds() (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, row := range c.Rows {
		for _, v := range row.Values {
			if v > 0 {
				low, high = min(low, math.Log10(v)), max(high, math.Log10(v))
			}
		}
	}
	if low > high {
		return 0, 1
	}
	low, high = math.Floor(low-0.1), math.Ceil(high)
	return low, max(high, low+1)
}

// grid draws a line with its value at 1, 2 and 5 of each power of ten.
func (c Chart) grid(b *bytes.Buffer, low, high float64, height int, x func(float64) float64) {
	for power := low; power <= high; power++ {
		for _, digit := range []float64{1, 2, 5} {
			v := digit * math.Pow(10, power)
			if math.Log10(v) > high+1e-9 {
				break
			}
			fmt.Fprintf(b, `<path class="grid" d="M%.1f %dV%d"/>`, x(v), top-6, height-bottom)
			if digit == 1 || high-low < 3 {
				fmt.Fprintf(b, `<text class="note" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
					x(v), height-bottom+16, strconv.FormatFloat(v, 'g', 3, 64))
			}
		}
	}
	fmt.Fprintf(b, `<text class="note" x="%d" y="%d" text-anchor="end">%s</text>`+"\n",
		width-8, height-bottom+16, escaped(c.Unit))
}

// Rounded formats three significant digits; more would suggest a precision that a
// measurement does not have.
func Rounded(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer never fails
	return b.String()
}
