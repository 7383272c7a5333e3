package tunnel

// Bounds of a Device.
const (
	MaxText        = 256      // bytes of each of its strings
	MaxDescriptors = 32 << 10 // bytes of its descriptors
	MaxInterfaces  = 64
)

// Device describes a shared device. With it the peer can show the device, answer requests for its descriptors, and
// check that it has not changed.
type Device struct {
	ID                string      `json:"id"` // on its host; never empty
	Name              string      `json:"name,omitempty"`
	Speed             uint8       `json:"speed"` // enum usb_device_speed, include/uapi/linux/usb/ch9.h
	Vendor            uint16      `json:"vendor_id"`
	Product           uint16      `json:"product_id"`
	Release           uint16      `json:"release"` // bcdDevice
	Class             uint8       `json:"class"`
	SubClass          uint8       `json:"subclass"`
	Protocol          uint8       `json:"protocol"`
	Serial            string      `json:"serial,omitempty"`
	Configuration     uint8       `json:"configuration"` // bConfigurationValue of the active one, 0 if none
	NumConfigurations uint8       `json:"configurations"`
	Interfaces        []Interface `json:"interfaces,omitempty"` // of the active configuration
	InUseBy           string      `json:"in_use_by,omitempty"`  // empty when it is free
	// Descriptors is the device descriptor and every configuration descriptor with all that follows it. A list that
	// would be too long with them leaves them out.
	Descriptors []byte `json:"descriptors,omitempty"`
}

// Interface is one interface of a device's active configuration.
type Interface struct {
	Number   uint8 `json:"number"`
	Class    uint8 `json:"class"`
	SubClass uint8 `json:"subclass"`
	Protocol uint8 `json:"protocol"`
}

func (d Device) check() error {
	if d.ID == "" {
		return malformed("device without an id")
	}
	for _, s := range []string{d.ID, d.Name, d.Serial, d.InUseBy} {
		if len(s) > MaxText {
			return malformed("device with a text of %d bytes, at most %d", len(s), MaxText)
		}
	}
	if len(d.Descriptors) > MaxDescriptors || len(d.Interfaces) > MaxInterfaces {
		return malformed("device with %d bytes of descriptors and %d interfaces", len(d.Descriptors), len(d.Interfaces))
	}
	return nil
}

// fit cuts the texts and the interfaces of a device to their bounds. It leaves an id or descriptors that are too long
// as they are; the peer refuses such a device.
func (d Device) fit() Device {
	d.Name, d.Serial, d.InUseBy = clip(d.Name, MaxText), clip(d.Serial, MaxText), clip(d.InUseBy, MaxText)
	d.Interfaces = d.Interfaces[:min(len(d.Interfaces), MaxInterfaces)]
	return d
}

// Devices is the whole list of devices that a host shares with the peer.
type Devices struct {
	Devices []Device `json:"devices"` // at most MaxDevices
}

// Encode returns the body of a KindDevices frame. It leaves out devices beyond MaxDevices and devices with an id or
// descriptors that break a bound. It leaves out all descriptors if they do not fit together.
func (d Devices) Encode() []byte {
	list := Devices{Devices: []Device{}}
	for _, dev := range d.Devices {
		if dev = dev.fit(); dev.check() == nil && len(list.Devices) < MaxDevices {
			list.Devices = append(list.Devices, dev)
		}
	}
	body := encodeJSON(list)
	if len(body) > MaxControl {
		for i := range list.Devices {
			list.Devices[i].Descriptors = nil
		}
		body = encodeJSON(list)
	}
	return body
}

// DecodeDevices reads the body of a KindDevices frame.
func DecodeDevices(body []byte) (Devices, error) {
	var d Devices
	if err := decodeJSON("Devices", body, &d); err != nil {
		return Devices{}, err
	}
	if len(d.Devices) > MaxDevices {
		return Devices{}, malformed("%d devices in one list, at most %d", len(d.Devices), MaxDevices)
	}
	for _, dev := range d.Devices {
		if err := dev.check(); err != nil {
			return Devices{}, err
		}
	}
	return d, nil
}
