package lab

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

var epoch = time.Now()

// nanos is the clock of links and NATs, in nanoseconds.
func nanos() int64 { return int64(time.Since(epoch)) }

// loop is a thread that waits for descriptors and deadlines more precisely than the
// timers of the Go scheduler.
type loop struct {
	fds  []int
	wake int
	done chan struct{}
}

// start calls turn whenever a descriptor is readable and at the time that turn last
// returned (-1 is never). It owns the descriptors, also if it fails.
func (l *loop) start(fds []int, turn func(ready []unix.PollFd) (next int64)) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return errors.Join(fmt.Errorf("event descriptor: %w", err), closeAll(fds))
	}
	l.fds, l.wake, l.done = fds, wake, make(chan struct{})
	go func() {
		defer close(l.done)
		runtime.LockOSThread() // never unlocked, so the thread ends with its settings
		hurry(int(loops.Add(1)))
		var set []unix.PollFd
		for _, fd := range append(fds[:len(fds):len(fds)], wake) {
			set = append(set, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		for set[len(set)-1].Revents == 0 {
			var timeout *unix.Timespec
			if next := turn(set); next >= 0 {
				t := unix.NsecToTimespec(max(0, next-nanos()))
				timeout = &t
			}
			if _, err := unix.Ppoll(set, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return nil
}

var loops atomic.Int32

// hurry gives this thread real-time priority if the machine permits, so that a busy
// machine does not look like a bad link. A nice value is not enough, because
// autogroups limit it to the processes of one login session. The thread stays on one CPU,
// because packets written on one CPU can overtake those just written on another.
func hurry(i int) {
	if unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) != nil ||
		unix.SchedSetAttr(
			0,
			&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1},
			0,
		) != nil {
		return
	}
	var may, one unix.CPUSet
	if unix.SchedGetaffinity(0, &may) != nil || may.Count() == 0 {
		return
	}
	for cpu, left := 0, i%may.Count(); ; cpu++ {
		if !may.IsSet(cpu) {
			continue
		}
		if left == 0 {
			one.Set(cpu)
			break
		}
		left--
	}
	if unix.SchedSetaffinity(0, &one) != nil {
		return
	}
}

// close stops the thread and closes its descriptors, which removes the devices.
func (l *loop) close() {
	if _, err := unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		panic(fmt.Sprintf("network laboratory: waking a link: %v", err)) // our own eventfd cannot fail
	}
	<-l.done
	if err := closeAll(append(l.fds, l.wake)); err != nil {
		panic(fmt.Sprintf("network laboratory: closing a link: %v", err))
	}
}

func closeAll(fds []int) error {
	var errs []error
	for _, fd := range fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
