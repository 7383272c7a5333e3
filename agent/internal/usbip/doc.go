// Package usbip connects [usb.Device] with USB/IP in both roles. As an exporter
// it serves a device to the kernel's virtual host controller ([VHCI]) or to
// stock USB/IP clients on a TCP port ([Server]). As an importer it returns a
// device of a stock USB/IP server ([Import]).
package usbip
