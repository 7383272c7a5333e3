package storage

// device identifies a kind of device.
type device struct{ vendor, product uint16 }

// quirks holds the devices for which the stage is off, with the reason. They are those
// that need pauses or orders that a driver keeps and the guard does not (Linux:
// drivers/usb/storage/unusual_devs.h).
var quirks = map[device]string{
	{0x05e3, 0x0701}: "this disk needs pauses within a command (US_FL_GO_SLOW)",
	{0x05e3, 0x0702}: "this disk needs pauses within a command (US_FL_GO_SLOW)",
}
