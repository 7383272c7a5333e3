// Package usbip is the edge where USB/IP is spoken. Towards a kernel or a stock
// client it serves any usb.Device: through the kernel's virtual host controller
// ([VHCI]), or on a TCP port ([Server]). Towards a stock server it imports a
// device and is itself a usb.Device ([Import]).
package usbip
