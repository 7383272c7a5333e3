package stream

import (
	"slices"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/stage/ahead"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

const (
	manyTransfers = 192 // enough for a round trip of 125 ms
	// packetInterval is the shortest time between two short packets, each of which ends a
	// transfer: adapters send what the line has received once in a frame.
	packetInterval = time.Millisecond
	// serialTTL is the time that received data stay in the stage when the driver has
	// cancelled its URBs. Programs that read with a timeout come back sooner.
	serialTTL = 10 * time.Second
)

// adapter is a kind of serial adapter.
type adapter struct {
	class    uint8 // of the interface with the data
	products []uint16
	effect   func(usb.Setup, uint8) ahead.Effect
}

// adapters lists the chips by their vendor. The products are those that the vendors of the
// chips use themselves (Linux: drivers/usb/serial).
var adapters = map[uint16]adapter{
	0x0403: {classVendor, []uint16{0x6001, 0x6010, 0x6011, 0x6014, 0x6015}, ftdiEffect},
	0x10c4: {classVendor, []uint16{0xea60, 0xea61, 0xea63, 0xea70, 0xea71}, cp210xEffect},
	0x067b: {classVendor, []uint16{0x2303, 0x23a3, 0x23b3, 0x23c3, 0x23d3, 0x23e3, 0x23f3}, pl2303Effect},
	0x1a86: {classVendor, []uint16{0x5523, 0x7522, 0x7523}, ch340Effect},
}

// communications is every device with the Abstract Control Model (CDC 1.2).
var communications = adapter{class: classData, effect: acmEffect}

const (
	classData   = 0x0a
	classVendor = 0xff
)

// Serial returns the receiving endpoints of a serial adapter.
func Serial(info usb.Info) ahead.Plan {
	plan := ahead.Plan{In: map[usb.Endpoint]ahead.Policy{}}
	a, ok := adapters[info.Vendor]
	switch {
	case ok && slices.Contains(a.products, info.Product):
	case slices.ContainsFunc(info.Interfaces, func(i usb.Interface) bool { return i.Class == 2 && i.SubClass == 2 }):
		a = communications
	default:
		return plan
	}
	plan.Effect = a.effect
	for _, setting := range settings(info) {
		if setting.Class != a.class {
			continue
		}
		for _, e := range setting.Endpoints {
			if e.Type == usb.Bulk && e.Address.In() {
				p := policy(setting, e)
				p.First, p.Max, p.Interval, p.TTL = manyTransfers, manyTransfers, packetInterval, serialTTL
				plan.In[e.Address] = p
			}
		}
	}
	return plan
}

// settings returns the settings of the active configuration that are selected first.
func settings(info usb.Info) []usb.Setting {
	d, err := usb.ParseDescriptors(info.Descriptors)
	if err != nil {
		return nil
	}
	active, _ := d.Configuration(info.Configuration)
	return slices.DeleteFunc(active.Settings, func(s usb.Setting) bool { return s.Alternate != 0 })
}

func policy(setting usb.Setting, e usb.EndpointDescriptor) ahead.Policy {
	return ahead.Policy{Interface: setting.Number, MaxPacket: max(1, int(e.MaxPacket))}
}

// acmEffect finds SET_CONTROL_LINE_STATE without DTR (CDC PSTN 1.2, 6.3.14). Linux sends it
// before it cancels the transfers of a port that is closed. wIndex is the interface before
// that with the data.
func acmEffect(s usb.Setup, number uint8) ahead.Effect {
	if s.Type == 0x21 && s.Request == 0x22 && s.Value&1 == 0 && s.Index+1 == uint16(number) {
		return ahead.HangsUp
	}
	return ahead.NoEffect
}

// ftdiEffect finds a reset, which also clears the buffers, and a modem control without DTR.
// The low byte of wIndex is the number of the port, from 1, or 0 (Linux: ftdi_sio.h).
func ftdiEffect(s usb.Setup, number uint8) ahead.Effect {
	port := uint8(s.Index)
	switch {
	case s.Type != 0x40 || port != 0 && port != number+1:
	case s.Request == 0:
		return ahead.Purges
	case s.Request == 1 && s.Value&0x0101 == 0x0100:
		return ahead.HangsUp
	}
	return ahead.NoEffect
}

// cp210xEffect finds IFC_ENABLE, PURGE, and SET_MHS without DTR (Silicon Labs AN571).
func cp210xEffect(s usb.Setup, number uint8) ahead.Effect {
	switch {
	case s.Type != 0x41 || s.Index != uint16(number):
	case s.Request == 0x00, s.Request == 0x12:
		return ahead.Purges
	case s.Request == 0x07 && s.Value&0x0101 == 0x0100:
		return ahead.HangsUp
	}
	return ahead.NoEffect
}

// pl2303Effect finds the reset of the pipes and SET_CONTROL_LINE_STATE without DTR (Linux:
// pl2303.c).
func pl2303Effect(s usb.Setup, _ uint8) ahead.Effect {
	switch {
	case s.Type == 0x40 && s.Request == 1 && (s.Value == 8 || s.Value == 9):
		return ahead.Purges
	case s.Type == 0x21 && s.Request == 0x22 && s.Value&1 == 0:
		return ahead.HangsUp
	}
	return ahead.NoEffect
}

// ch340Effect finds a modem control without DTR, whose bits are inverted (Linux: ch341.c).
func ch340Effect(s usb.Setup, _ uint8) ahead.Effect {
	if s.Type == 0x40 && s.Request == 0xa4 && s.Value&0x20 != 0 {
		return ahead.HangsUp
	}
	return ahead.NoEffect
}
