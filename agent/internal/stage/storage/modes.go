package storage

import "iter"

// Fields of mode parameters (SPC-4, 7.5; SBC-3, 6.4.5).
const (
	pageCaching   = 0x08
	pageAll       = 0x3f
	bitSubPage    = 0x40 // SPF
	cachingLength = 20
	bitWCE        = 0x04
	pcChangeable  = 1 // page control: the bits that the driver can change
)

// isModeSense reports whether w is a MODE SENSE.
func (w *wrapper) isModeSense() bool {
	return w.operation() == opModeSense6 && w[14] >= 6 || w.operation() == opModeSense10 && w[14] >= 10
}

// asksForCaching reports whether a MODE SENSE asks for the caching mode page.
func (w *wrapper) asksForCaching() bool {
	b := w.block()
	page := b[2] & 0x3f
	return page == pageCaching && b[3] == 0 || page == pageAll && (b[3] == 0 || b[3] == 0xff)
}

// pageControl returns which values a MODE SENSE asks for: 0 for the current ones.
func (w *wrapper) pageControl() byte { return w.block()[2] >> 6 }

// answerModes answers a MODE SENSE with the parameters of the device and a caching mode
// page that shows a volatile write cache. The device may know no such page, or fail the
// command, which leaves data empty.
func (q *question) answerModes(data []byte) {
	c := q.command
	w := &c.wrapper
	if w.asksForCaching() {
		m := modes{data: data, long: w.operation() == opModeSense10}
		limit := int(w.block()[4])
		if m.long {
			limit = int(w.block()[7])<<8 | int(w.block()[8])
		}
		m.showCache(w.pageControl() == pcChangeable)
		data = m.data[:min(len(m.data), limit, int(w.length()))]
		m.data = data
		if page := m.caching(); page != nil && w.pageControl() == 0 {
			q.unit.cache.isKnown = true
		}
	}
	q.stage.reply(c, data, statusPassed)
}

// modes holds the parameters that a MODE SENSE returns: a header, block descriptors and
// mode pages.
type modes struct {
	data []byte
	long bool // of MODE SENSE(10)
}

// header returns the length of the header.
func (m *modes) header() int {
	if m.long {
		return 8
	}
	return 4
}

// pages returns the offset of the pages. It returns false if data end before.
func (m *modes) pages() (int, bool) {
	at := m.header()
	switch {
	case len(m.data) < at:
		return 0, false
	case m.long:
		at += int(m.data[6])<<8 | int(m.data[7])
	default:
		at += int(m.data[3])
	}
	return at, at <= len(m.data)
}

// all yields the pages. The last one may be truncated.
func (m *modes) all() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for at, ok := m.pages(); ok && at+2 < len(m.data); {
			page := m.data[at:]
			n := 2 + int(page[1])
			if page[0]&bitSubPage != 0 && len(page) > 3 {
				n = 4 + int(page[2])<<8 + int(page[3])
			}
			if !yield(page[:min(n, len(page))]) {
				return
			}
			at += n
		}
	}
}

// caching returns the caching mode page, at least until WCE, or nil.
func (m *modes) caching() []byte {
	for page := range m.all() {
		if page[0]&0x7f == pageCaching && len(page) > 2 {
			return page
		}
	}
	return nil
}

// showCache sets WCE in the caching mode page. If there is no such page, it adds one
// before the others, because drivers ask for few bytes (Linux: drivers/scsi/sd.c,
// sd_read_cache_type, takes 192). The driver cannot change the bit.
func (m *modes) showCache(changeable bool) {
	if len(m.data) < m.header() {
		m.data = make([]byte, m.header())
		if m.long {
			m.data[1] = 6 // bytes after the length itself
		} else {
			m.data[0] = 3
		}
	}
	page := m.caching()
	if page == nil {
		page = make([]byte, cachingLength)
		page[0], page[1] = pageCaching, cachingLength-2
		if at, ok := m.pages(); ok {
			rest := m.data[at:]
			m.data = append(append(append([]byte(nil), m.data[:at]...), page...), rest...)
			page = m.data[at:]
		}
		m.addLength(cachingLength)
	}
	page[2] |= bitWCE
	if changeable {
		page[2] &^= bitWCE
	}
}

// addLength adds n to the mode data length.
func (m *modes) addLength(n int) {
	if m.long {
		n += int(m.data[0])<<8 | int(m.data[1])
		m.data[0], m.data[1] = byte(n>>8), byte(n)
		return
	}
	m.data[0] = byte(min(int(m.data[0])+n, 255))
}
