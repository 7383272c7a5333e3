package enumeration

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Bounds of what the stage fetches ahead.
const (
	maxRequests  = 48   // under way at a time
	maxLanguages = 2    // of strings
	maxLength    = 4096 // of a descriptor (Linux: HID_MAX_DESCRIPTOR_SIZE)
)

// Lengths that Linux asks for (message.c, usb_string_sub; config.c,
// usb_get_bos_descriptor; hub.c, check_highspeed).
const (
	stringLength    = 255
	bosHeadLength   = 5
	qualifierLength = 10
	maxLUNLength    = 1
)

// A Linux host shows maxConfigurations instead of a greater bNumConfigurations
// (drivers/usb/core/config.c, USB_MAXCONFIG).
const (
	numConfigurations = 17 // offset in the device descriptor
	maxConfigurations = 8
)

// Versions of the USB specification in bcdUSB.
const (
	usb20  = 0x0200
	usb201 = 0x0201 // the first with a BOS
)

// Begin fetches ahead what a driver is going to ask for. It is called once. report ends
// the attachment because the device is not the one that was agreed to; the stage calls
// it once at most. It may be nil.
func (s *Stage) Begin(report func(detail string)) {
	s.mu.Lock()
	s.finding.report = report
	s.firstRound()
	s.mu.Unlock()
	s.box.Run()
}

// firstRound sends the requests that need no earlier answer. mu must be held.
func (s *Stage) firstRound() {
	device := s.parsed.Device
	version := binary.LittleEndian.Uint16(device[2:])
	if len(stringNumbers(device, s.active.Raw)) > 0 {
		s.fetch(descriptor(typeString, 0, 0), stringLength)
	}
	if version >= usb201 {
		s.fetch(descriptor(typeBOS, 0, 0), bosHeadLength)
	}
	if version >= usb20 && s.Info().Speed == usb.SpeedFull {
		s.fetch(descriptor(typeQualifier, 0, 0), qualifierLength)
	}
	lengths := reportLengths(s.active.Raw)
	for _, i := range s.active.Interfaces() {
		if n := lengths[i.Number]; i.Class == classHID && n > 0 {
			s.fetch(request{fromInterface, getDescriptor, typeReport << 8, uint16(i.Number)}, int(n))
		}
		if i.Class == classStorage && i.Protocol == protocolBulkOnly {
			s.fetch(request{fromClass, getMaxLUN, 0, uint16(i.Number)}, maxLUNLength)
		}
	}
	for r, b := range s.agreed { // to compare the answers
		s.fetch(r, len(b))
	}
}

// fetch sends a request of the stage. mu must be held.
func (s *Stage) fetch(r request, length int) {
	if s.underWay[r] != nil || length > maxLength && s.agreed[r] == nil || len(s.underWay) >= maxRequests {
		return
	}
	u := &usb.URB{Setup: r.setup(uint16(length)).Bytes(), Data: make([]byte, length)}
	s.underWay[r] = u
	u.Done = func(*usb.URB) { s.arrived(r, u) }
	s.box.Submit(u)
}

// arrived handles the answer to a request of the stage.
func (s *Stage) arrived(r request, u *usb.URB) {
	s.mu.Lock()
	isWanted := s.underWay[r] == u
	if isWanted {
		delete(s.underWay, r)
	}
	data := u.Data[:min(u.Actual, len(u.Data))]
	s.compare(r, data, u.Status)
	switch {
	case !isWanted, s.agreed[r] != nil, s.closed:
	case u.Status == usb.StatusStall:
		s.answers[r] = answer{stall: true, length: len(u.Data)}
	case u.Status == usb.StatusOK:
		s.work.fetched += int64(len(data))
		s.answers[r] = answer{data: data, length: len(u.Data)}
		s.nextRound(r, data)
	}
	s.finish()
}

// nextRound sends the requests that an answer makes possible. mu must be held.
func (s *Stage) nextRound(r request, data []byte) {
	a := s.answers[r]
	switch r.descriptorType() {
	case typeString:
		if r != descriptor(typeString, 0, 0) {
			return
		}
		list := languages(data)
		for _, language := range list[:min(len(list), maxLanguages)] {
			for _, n := range stringNumbers(s.parsed.Device, s.active.Raw) {
				s.fetch(descriptor(typeString, n, language), stringLength)
			}
		}
	case typeBOS:
		if len(data) < bosHeadLength {
			return
		}
		total := int(binary.LittleEndian.Uint16(data[2:]))
		a.ending = total == len(data)
		s.answers[r] = a
		if a.length == bosHeadLength && total > bosHeadLength {
			s.fetch(r, total)
		}
	default:
		a.ending = r.kind == fromInterface // the length is the one that the device has announced
		a.exact = r.kind == fromClass
		s.answers[r] = a
	}
}

// compare compares an answer of the device with the descriptor that was agreed to. A
// refusal and a shorter answer do not differ. mu must be held.
func (s *Stage) compare(r request, data []byte, status usb.Status) {
	want := s.agreed[r]
	n := min(len(data), len(want))
	if r.descriptorType() == typeDevice && want != nil && want[numConfigurations] == maxConfigurations {
		n = min(n, numConfigurations)
	}
	if want == nil || status != usb.StatusOK && status != usb.StatusShortRead || bytes.Equal(data[:n], want[:n]) {
		return
	}
	name := "device descriptor"
	if r.descriptorType() == typeConfiguration {
		name = fmt.Sprintf("configuration descriptor %d", uint8(r.value))
	}
	s.finding.detail = "it now answers with another " + name
}
