package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

var errController = errors.New("the controller does not respond")

func TestHostRefusesDevice(t *testing.T) {
	for name, c := range map[string]struct {
		refuse, want error
		device       string
		expect       []byte
	}{
		"unknown":    {device: "9-9", want: usb.ErrNotFound},
		"in use":     {refuse: fmt.Errorf("%w: sda1 is mounted", usb.ErrInUse), want: usb.ErrInUse},
		"permission": {refuse: usb.ErrPermission, want: usb.ErrPermission},
		"denied":     {refuse: ErrDenied, want: ErrDenied},
		"other":      {refuse: errController, want: &AttachError{"1-1", tunnel.CodeFailed, errController.Error()}},
		"changed":    {expect: make([]byte, 32), want: ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sc := newScene(t, 0)
				defer sc.end()
				_ = sc.dev.Close()
				sc.host.mu.Lock()
				sc.host.refuse = c.refuse
				sc.host.mu.Unlock()
				device := "1-1"
				if c.device != "" {
					device = c.device
				}
				_, err := sc.a.Attach(context.Background(), tunnel.Attach{Device: device, Expect: c.expect})
				if err == nil || !errors.Is(err, c.want) && !strings.Contains(err.Error(), c.want.Error()) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				synctest.Wait()
				if st := sc.b.Status(); len(st.Attachments) != 0 {
					t.Errorf("the host keeps %+v", st.Attachments)
				}
			})
		})
	}
}

func TestAttachEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		_ = sc.dev.Close()
		sc.cable.cut(false)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := sc.a.Attach(ctx, tunnel.Attach{Device: "1-1"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		sc.connect(newRand(2), true, link.RankHost, -1)
		time.Sleep(time.Second)
		synctest.Wait()
		if sc.host.opens != sc.model.closes() {
			t.Errorf("opened %d times, given back %d times", sc.host.opens, sc.model.closes())
		}
		if st := sc.a.Status(); len(st.Attachments) != 0 || len(sc.a.current.remote) != 0 {
			t.Errorf("left over: %+v", st.Attachments)
		}
	})
}

func TestDeviceListFollowsItsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		for range 100 {
			sc.b.DevicesChanged()
		}
		sc.model.info.ProductName = "renamed"
		sc.b.DevicesChanged()
		time.Sleep(time.Second)
		list, err := sc.a.Devices(context.Background())
		if err != nil || list[0].Name != "renamed" {
			t.Errorf("list %+v, %v", list, err)
		}
		empty, err := sc.b.Devices(context.Background()) // a has no Host
		if err != nil || len(empty) != 0 {
			t.Errorf("list %+v, %v", empty, err)
		}
	})
}

func TestUnpluggedDeviceIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		_, done := sc.submit(1, epBulkIn, 100)
		synctest.Wait()
		close(sc.model.gone)
		wantStatus(t, done, time.Second, usb.StatusNoDevice)
		if !isGone(sc.dev) || sc.model.closes() != 1 {
			t.Errorf("gone %v, given back %d times", isGone(sc.dev), sc.model.closes())
		}
		if st := sc.b.Status(); len(st.Attachments) != 0 {
			t.Errorf("left over: %+v", st.Attachments)
		}
	})
}

func TestRejectedDeviceIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		_, pending := sc.submit(1, 0x81, 64)
		dev := sc.dev.(*remoteDevice)
		dev.Reject("it answers with another device descriptor")
		wantStatus(t, pending, 0, usb.StatusShutdown)
		err := dev.Why()
		if !isGone(dev) || !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "another device descriptor") {
			t.Errorf("the device ended with %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if st := sc.b.Status(); len(st.Attachments) != 0 || sc.model.closes() != 1 {
			t.Errorf("the host keeps %+v", st.Attachments)
		}
	})
}

// TestAttachTakesOneRoundTrip attaches over a link whose frames take less than 50 ms.
func TestAttachTakesOneRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		const oneWay = 50 * time.Millisecond
		sc.cable.mu.Lock()
		sc.cable.delay = oneWay
		sc.cable.mu.Unlock()
		for range 10 {
			_ = sc.dev.Close()
			time.Sleep(time.Second)
			began := time.Now()
			sc.dev = sc.attach()
			if took := time.Since(began); took >= 2*oneWay {
				t.Errorf("the attachment took %v", took)
			}
		}
	})
}
