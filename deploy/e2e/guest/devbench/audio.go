package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// playback holds how much sound a device has taken.
type playback struct {
	Frames   int     `json:"frames"` // that the driver took, without what its buffer holds
	Seconds  float64 `json:"seconds"`
	Underrun int     `json:"underruns"`
}

// The stream: 16-bit stereo.
const (
	soundRate  = 48000
	frameSize  = 4
	maxBuffer  = soundRate / 4 // frames in the driver's buffer
	pieceSize  = soundRate / 100 * frameSize
	rateParam  = 11 // SNDRV_PCM_HW_PARAM_RATE, and so on (include/uapi/sound/asound.h)
	chanParam  = 10
	sizeParam  = 17
	firstParam = 8
)

// Requests of include/uapi/sound/asound.h.
const (
	ioctlHWParams = 0xc2604111
	ioctlPrepare  = 0x4140
	paramsSize    = 608 // bytes of struct snd_pcm_hw_params
)

// play plays silence for a time and counts what the device takes.
func play(args []string) (*playback, error) {
	flags := flag.NewFlagSet("play", flag.ContinueOnError)
	during := flags.Duration("for", 3*time.Second, "play for this time")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	fd, err := syscall.Open(flags.Arg(0), syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flags.Arg(0), err)
	}
	f := os.NewFile(uintptr(fd), flags.Arg(0)) // blocking
	defer f.Close()
	params := hardwareParameters()
	if err := ioctl(f, ioctlHWParams, unsafe.Pointer(&params)); err != nil {
		return nil, fmt.Errorf("parameters of the sound card: %w", err)
	}
	if err := ioctl(f, ioctlPrepare, nil); err != nil {
		return nil, fmt.Errorf("preparation of the sound card: %w", err)
	}
	buffer := int(binary.LittleEndian.Uint32(params[intervalAt(sizeParam):]))
	r := &playback{}
	began := time.Now()
	for time.Since(began) < *during {
		n, err := syscall.Write(fd, make([]byte, pieceSize))
		switch {
		case errors.Is(err, syscall.EPIPE):
			r.Underrun++
			if err := ioctl(f, ioctlPrepare, nil); err != nil {
				return nil, err
			}
		case err != nil && !errors.Is(err, syscall.EINTR):
			return nil, fmt.Errorf("sound: %w", err)
		}
		r.Frames += max(n, 0) / frameSize
	}
	r.Seconds = time.Since(began).Seconds()
	r.Frames = max(0, r.Frames-buffer)
	return r, nil
}

// intervalAt returns the offset of a parameter's interval in struct snd_pcm_hw_params: 4
// bytes of flags and 8 masks of 32 bytes are before the intervals of 12 bytes.
func intervalAt(param int) int { return 4 + 8*32 + 12*(param-firstParam) }

// hardwareParameters returns a struct snd_pcm_hw_params that leaves open what does not
// matter.
func hardwareParameters() [paramsSize]byte {
	const (
		accessReadWrite, formatS16LE, intervals, rmaskAt, integer = 3, 2, 12, 512, 4
		maskSize, masksAt                                         = 32, 4
	)
	var p [paramsSize]byte
	for mask, bit := range [3]int{accessReadWrite, formatS16LE, 0} {
		p[masksAt+mask*maskSize] = 1 << bit
	}
	set := func(param int, low, high, kind uint32) {
		for i, v := range []uint32{low, high, kind} {
			binary.LittleEndian.PutUint32(p[intervalAt(param)+4*i:], v)
		}
	}
	for n := range intervals {
		set(firstParam+n, 0, 0xffffffff, 0)
	}
	set(rateParam, soundRate, soundRate, integer)
	set(chanParam, 2, 2, integer)
	set(sizeParam, 0, maxBuffer, integer)
	binary.LittleEndian.PutUint32(p[rmaskAt:], 0xffffffff)
	return p
}

func ioctl(f *os.File, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
