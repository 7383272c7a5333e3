//go:build linux

package usbfs

import (
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The structures of include/uapi/linux/usbdevice_fs.h.
type (
	// kernelURB is struct usbdevfs_urb. As many kernelPackets as the field
	// packets says follow it in memory.
	kernelURB struct {
		kind, endpoint uint8
		status         int32
		flags          uint32
		buffer         uintptr
		length, actual int32
		startFrame     int32
		packets        int32
		errorCount     int32
		signal         uint32
		context        uintptr
	}
	kernelPacket struct{ length, actual, status uint32 }
	setInterface struct{ number, alternate uint32 }
	disconnect   struct {
		number, flags uint32
		driver        [256]byte
	}
	driverCall struct {
		number, code int32
		data         uintptr
	}
)

// Values of usbdevfs_urb.type.
const (
	kindIsochronous = 0
	kindInterrupt   = 1
	kindControl     = 2
	kindBulk        = 3
)

// Bits of usbdevfs_urb.flags.
const (
	flagShortNotOK = 0x01
	flagIsoASAP    = 0x02
	flagZeroPacket = 0x40
)

// exceptDriver makes USBDEVFS_DISCONNECT_CLAIM fail with EBUSY if the named
// driver is bound to the interface. The name given is "usbfs", which is bound
// when another program has claimed the interface.
const exceptDriver = 2

// Request codes of ioctl. The arguments of code are direction, number and size
// of the argument.
var (
	reqSetInterface     = code(dirRead, 4, unsafe.Sizeof(setInterface{}))
	reqSetConfiguration = code(dirRead, 5, 4)
	reqSubmit           = code(dirRead, 10, unsafe.Sizeof(kernelURB{}))
	reqDiscard          = code(0, 11, 0)
	reqReapNoDelay      = code(dirWrite, 13, unsafe.Sizeof(uintptr(0)))
	reqRelease          = code(dirRead, 16, 4)
	reqDriver           = code(dirRead|dirWrite, 18, unsafe.Sizeof(driverCall{}))
	reqReset            = code(0, 20, 0)
	reqClearHalt        = code(dirRead, 21, 4)
	reqConnect          = code(0, 23, 0)
	reqDisconnectClaim  = code(dirRead, 27, unsafe.Sizeof(disconnect{}))
)

const (
	dirRead  = 1
	dirWrite = 2
)

// code returns the code of an ioctl request of type 'U', as the kernel's macro
// _IOC (include/uapi/asm-generic/ioctl.h). MIPS and PowerPC encode the direction
// in another way.
func code(direction, number, size uintptr) uintptr {
	var bits uintptr
	if strings.HasPrefix(runtime.GOARCH, "mips") || strings.HasPrefix(runtime.GOARCH, "ppc") {
		none := uintptr(1)
		bits = none << 29
		if direction != 0 {
			bits = direction << 30 // read 2, write 4, of three bits
		}
	} else {
		bits = (direction&dirRead<<1 | direction&dirWrite>>1) << 30 // read 2, write 1, of two bits
	}
	return bits | size<<16 | 'U'<<8 | number
}

// call calls ioctl. Its error is a [unix.Errno].
func call(fd int, request uintptr, argument unsafe.Pointer) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument))
	runtime.KeepAlive(argument)
	if e != 0 {
		return e
	}
	return nil
}
