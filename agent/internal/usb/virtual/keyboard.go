package virtual

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// KeyboardConfig describes a keyboard.
type KeyboardConfig struct {
	ID     string    // default "v-keyboard"
	Serial string    // default "EFKEYBOARD01"
	Speed  usb.Speed // SpeedFull (default) or SpeedLow
	// Greeting is typed by itself, once, each time the keyboard is opened.
	// Characters without a key on a US layout are left out; at most MaxText.
	Greeting string
}

// SampleGreeting is a greeting for demonstrations and tests, as [NewSample] is
// a disk for them.
const SampleGreeting = "Hello from the far keyboard!"

const (
	keyboardIn   = usb.Endpoint(0x81)
	reportLength = 8 // also the endpoint's packet
)

// Keyboard is a HID boot keyboard ("Device Class Definition for HID", 1.11,
// appendix B.1). Its keys are pressed by the methods Press and Type.
type Keyboard struct {
	// Static after construction.
	about    description
	greeting []Key

	mu       sync.Mutex
	port     port
	queue    []*keyEvent        // reports that the computer has yet to fetch
	now      [reportLength]byte // the report of the keys as they are
	leds     byte
	protocol byte          // 1: report, 0: boot; the reports are the same
	idle     time.Duration // 0: a report only when a key has changed
	again    time.Time     // when the report is repeated, if idle is not 0
	timer    *time.Timer   // wakes at again; nil if there is none
}

// keyEvent is a report on its way to the computer.
type keyEvent struct {
	report   [reportLength]byte
	fetched  chan struct{} // closed
	greeting bool          // ends with the opening for which it was made
}

// NewKeyboard returns a keyboard.
func NewKeyboard(c KeyboardConfig) *Keyboard {
	if c.ID == "" {
		c.ID = "v-keyboard"
	}
	if c.Serial == "" {
		c.Serial = "EFKEYBOARD01"
	}
	if c.Speed != usb.SpeedLow {
		c.Speed = usb.SpeedFull
	}
	device := deviceDescriptor(c.Speed, productKeyboard)
	device[7] = 8 // all that a low-speed device may have
	return &Keyboard{
		protocol: 1,
		greeting: keysOf(c.Greeting),
		about: description{
			id: c.ID, speed: c.Speed, device: device,
			configuration: configurationDescriptor(100,
				interfaceDescriptor(1, 0x03, 0x01, 0x01), // HID, boot, keyboard
				hidDescriptor(),
				endpointDescriptor(keyboardIn, usb.Interrupt, reportLength, 10)),
			strings: []string{"EasyFind", "Virtual Keyboard", c.Serial},
		},
	}
}

// hidDescriptor says HID 1.11, no country, one report descriptor.
func hidDescriptor() []byte {
	return []byte{9, descriptorHID, 0x11, 0x01, 0, 1, descriptorReport, byte(len(reportDescriptor)), 0}
}

const (
	descriptorHID    = 0x21
	descriptorReport = 0x22
)

// reportDescriptor is that of appendix B.1: eight modifier bits, a reserved
// byte, six keys; five LEDs out.
var reportDescriptor = []byte{
	0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, // generic desktop, keyboard, application
	0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08, 0x81, 0x02,
	0x95, 0x01, 0x75, 0x08, 0x81, 0x01,
	0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02,
	0x95, 0x01, 0x75, 0x03, 0x91, 0x01,
	0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0x65, 0x05, 0x07, 0x19, 0x00, 0x29, 0x65, 0x81, 0x00,
	0xc0,
}

// Press presses a key, releases it, and returns when the computer has fetched
// both reports, or with the context's error. While no computer has opened the
// keyboard it waits for one.
func (k *Keyboard) Press(ctx context.Context, key Key) error {
	down, up := eventsOf(key)
	k.mu.Lock()
	k.queue = append(k.queue, down, up)
	if k.port.wake != nil {
		k.port.wake()
	}
	k.mu.Unlock()
	select {
	case <-ctx.Done():
		k.giveUp(down, up)
		return ctx.Err()
	case <-up.fetched:
		return nil
	}
}

// eventsOf returns the reports of a key that is pressed and released.
func eventsOf(key Key) (down, up *keyEvent) {
	return &keyEvent{report: [reportLength]byte{key.Modifiers, 0, key.Usage}, fetched: make(chan struct{})},
		&keyEvent{fetched: make(chan struct{})}
}

// giveUp takes a key back if the computer does not know of it yet. Otherwise
// its release stays in the queue, so that it does not stay down.
func (k *Keyboard) giveUp(down, up *keyEvent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Contains(k.queue, down) {
		k.queue = slices.DeleteFunc(k.queue, func(e *keyEvent) bool { return e == down || e == up })
	}
}

// Type presses the keys that make text on a US layout, one after the other as
// Press does. Of a character without a key there it says so before it presses
// any.
func (k *Keyboard) Type(ctx context.Context, text string) error {
	keys, err := keysFor(text)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := k.Press(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// LEDs returns the bits that the computer has set: 0 num lock, 1 caps lock,
// 2 scroll lock, 3 compose, 4 kana.
func (k *Keyboard) LEDs() uint8 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leds
}

func (k *Keyboard) describe() description { return k.about }

func (k *Keyboard) attach(p port) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.port = p
	if p.wake != nil {
		for _, key := range k.greeting {
			down, up := eventsOf(key)
			down.greeting, up.greeting = true, true
			k.queue = append(k.queue, down, up)
		}
		return
	}
	left := len(k.queue)
	k.queue = slices.DeleteFunc(k.queue, func(e *keyEvent) bool { return e.greeting })
	if len(k.queue) < left {
		k.now = [reportLength]byte{} // a key that it held down is up again
	}
}

func (k *Keyboard) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leds, k.protocol = 0, 1
	k.setIdle(0)
}

// setIdle starts or ends the repetition of reports. The lock is held.
func (k *Keyboard) setIdle(d time.Duration) {
	k.idle = d
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	if d > 0 {
		k.again = time.Now().Add(d)
		k.timer = time.AfterFunc(d, k.port.wake)
	}
}

func (k *Keyboard) out(usb.Endpoint, []byte) (int, outcome) { return 0, stall }

func (k *Keyboard) in(_ usb.Endpoint, room []byte) (int, outcome) {
	k.mu.Lock()
	defer k.mu.Unlock()
	repeat := k.idle > 0 && !time.Now().Before(k.again)
	if len(k.queue) == 0 && !repeat {
		return 0, wait
	}
	if !fits(len(room), reportLength, reportLength) {
		return 0, babble
	}
	if len(k.queue) > 0 {
		e := k.queue[0]
		k.queue = k.queue[1:]
		k.now = e.report
		close(e.fetched)
	}
	k.setIdle(k.idle)
	return copy(room, k.now[:]), done
}

// control answers the requests of the HID class (7.2).
func (k *Keyboard) control(s usb.Setup, out []byte) ([]byte, bool) {
	if s.Index != 0 {
		return nil, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case s.Type == 0x81 && s.Request == getDescriptor && s.Value == descriptorReport<<8:
		return reportDescriptor, true
	case s.Type == 0x81 && s.Request == getDescriptor && s.Value == descriptorHID<<8:
		return hidDescriptor(), true
	case s.Type == 0xa1 && s.Request == 1 && s.Value>>8 == 1: // GET_REPORT, input
		return k.now[:], true
	case s.Type == 0xa1 && s.Request == 1 && s.Value>>8 == 2: // GET_REPORT, output
		return []byte{k.leds}, true
	case s.Type == 0xa1 && s.Request == 2: // GET_IDLE
		return []byte{byte(k.idle / idleUnit)}, true
	case s.Type == 0xa1 && s.Request == 3: // GET_PROTOCOL
		return []byte{k.protocol}, true
	case s.Type == 0x21 && s.Request == 9 && s.Value>>8 == 2 && len(out) == 1: // SET_REPORT, output
		k.leds = out[0] & 0x1f
		return nil, true
	case s.Type == 0x21 && s.Request == 10: // SET_IDLE
		k.setIdle(time.Duration(s.Value>>8) * idleUnit)
		return nil, true
	case s.Type == 0x21 && s.Request == 11 && s.Value <= 1: // SET_PROTOCOL
		k.protocol = byte(s.Value)
		return nil, true
	}
	return nil, false
}

// idleUnit is that of SET_IDLE's rate.
const idleUnit = 4 * time.Millisecond
