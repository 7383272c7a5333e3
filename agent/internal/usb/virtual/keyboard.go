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
	// Greeting is a text that the keyboard types each time it is opened.
	// Characters without a key on a US layout are omitted, and so is the text
	// after the first MaxText bytes.
	Greeting string
}

// SampleGreeting is a greeting for demonstrations and tests.
const SampleGreeting = "Hello from the remote keyboard!"

const (
	keyboardIn   = usb.Endpoint(0x81)
	reportLength = 8 // bytes; also the greatest packet of the endpoint
)

// Keyboard is a HID boot keyboard ("Device Class Definition for HID", 1.11,
// appendix B.1). The methods Press and Type press its keys. They may be called
// concurrently.
type Keyboard struct {
	// Constant after construction.
	about    description
	greeting []Key

	mu       sync.Mutex
	port     port
	queue    []*keyEvent        // reports that the computer has not yet fetched, oldest first
	current  [reportLength]byte // the report that the computer fetched last
	leds     byte
	protocol byte          // 1 report, 0 boot; the reports are the same
	idle     time.Duration // 0: the keyboard reports only changes
	repeatAt time.Time     // when the report is due again, if idle is not 0
	timer    *time.Timer   // fires at repeatAt; nil if idle is 0
}

// keyEvent is a report that the computer has not yet fetched.
type keyEvent struct {
	report   [reportLength]byte
	fetched  chan struct{} // closed when the computer has fetched the report
	greeting bool          // part of the greeting: dropped when the keyboard is closed
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
	device[7] = 8 // bMaxPacketSize0: the greatest value for low speed
	return &Keyboard{
		protocol: 1,
		greeting: typableKeys(c.Greeting),
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

// hidDescriptor returns the HID descriptor: HID 1.11, no country code, one report
// descriptor.
func hidDescriptor() []byte {
	return []byte{9, descriptorHID, 0x11, 0x01, 0, 1, descriptorReport, byte(len(reportDescriptor)), 0}
}

const (
	descriptorHID    = 0x21
	descriptorReport = 0x22
)

// reportDescriptor is the report descriptor of appendix B.1. Input: eight
// modifier bits, a reserved byte, six keys. Output: five LEDs.
var reportDescriptor = []byte{
	0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, // generic desktop, keyboard, application
	0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08, 0x81, 0x02,
	0x95, 0x01, 0x75, 0x08, 0x81, 0x01,
	0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02,
	0x95, 0x01, 0x75, 0x03, 0x91, 0x01,
	0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0x65, 0x05, 0x07, 0x19, 0x00, 0x29, 0x65, 0x81, 0x00,
	0xc0,
}

// Press presses and releases a key. It returns when the computer has fetched
// both reports, or with the error of ctx. It also waits while the keyboard is
// not open.
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
		k.withdraw(down, up)
		return ctx.Err()
	case <-up.fetched:
		return nil
	}
}

// eventsOf returns the reports of pressing and releasing a key.
func eventsOf(key Key) (down, up *keyEvent) {
	return &keyEvent{report: [reportLength]byte{key.Modifiers, 0, key.Usage}, fetched: make(chan struct{})},
		&keyEvent{fetched: make(chan struct{})}
}

// withdraw removes both reports of a key from the queue if the computer has
// fetched neither. Otherwise the release stays in the queue, so that the key
// does not stay down.
func (k *Keyboard) withdraw(down, up *keyEvent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Contains(k.queue, down) {
		k.queue = slices.DeleteFunc(k.queue, func(e *keyEvent) bool { return e == down || e == up })
	}
}

// Type types text on a US layout: it calls Press for one key after the other. If
// text has a character without a key or more than MaxText bytes, Type returns an
// error and presses no key.
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

// LEDs returns the state of the LEDs as set by the computer. Bits: 0 num lock,
// 1 caps lock, 2 scroll lock, 3 compose, 4 kana.
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
	before := len(k.queue)
	k.queue = slices.DeleteFunc(k.queue, func(e *keyEvent) bool { return e.greeting })
	if len(k.queue) < before {
		k.current = [reportLength]byte{} // release the key that the greeting held down
	}
}

func (k *Keyboard) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leds, k.protocol = 0, 1
	k.setIdle(0)
}

// setIdle sets the interval at which the report is repeated; 0 ends the
// repetition. mu must be held.
func (k *Keyboard) setIdle(d time.Duration) {
	k.idle = d
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	if d > 0 {
		k.repeatAt = time.Now().Add(d)
		k.timer = time.AfterFunc(d, k.port.wake)
	}
}

func (k *Keyboard) out(usb.Endpoint, []byte) (int, outcome) { return 0, stall }

func (k *Keyboard) in(_ usb.Endpoint, room []byte) (int, outcome) {
	k.mu.Lock()
	defer k.mu.Unlock()
	repeat := k.idle > 0 && !time.Now().Before(k.repeatAt)
	if len(k.queue) == 0 && !repeat {
		return 0, wait
	}
	if !fits(len(room), reportLength, reportLength) {
		return 0, babble
	}
	if len(k.queue) > 0 {
		e := k.queue[0]
		k.queue = k.queue[1:]
		k.current = e.report
		close(e.fetched)
	}
	k.setIdle(k.idle)
	return copy(room, k.current[:]), done
}

// control runs the requests of the HID class (7.2).
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
		return k.current[:], true
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

// idleUnit is the unit of the idle rate (7.2.4).
const idleUnit = 4 * time.Millisecond
