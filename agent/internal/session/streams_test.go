package session

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// echo is a device that returns the lossy frames of the client.
type echo struct{ usb.Device }

func (e echo) Isochronous(cast func(uint8, tunnel.Kind, ...[]byte)) func(tunnel.Frame) {
	return func(f tunnel.Frame) { cast(f.Lane.Endpoint(), f.Kind, f.Body) }
}

// TestIsochronousFrames sends lossy frames to the host and back: over a link, without one, over the next one, and after
// the device was given back. A peer that does not ask for them gets none.
func TestIsochronousFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		_ = sc.dev.Close()
		sc.host.mu.Lock()
		sc.host.dev = echo{sc.model}
		sc.host.mu.Unlock()
		attach := func(wanted bool) (usb.Device, func(uint8, tunnel.Kind, ...[]byte), *[]tunnel.Frame) {
			dev, err := sc.a.Attach(context.Background(), tunnel.Attach{Device: "1-1", Isochronous: wanted})
			if err != nil {
				t.Fatal(err)
			}
			var got []tunnel.Frame
			cast, ok := dev.(*remoteDevice).Isochronous(func(f tunnel.Frame) { got = append(got, f) })
			if ok != wanted {
				t.Errorf("the host agrees: %t, asked for: %t", ok, wanted)
			}
			return dev, cast, &got
		}
		old, cast, got := attach(false)
		cast(0x81, tunnel.KindShard, []byte("not asked for"))
		synctest.Wait()
		_ = old.Close()
		if len(*got) != 0 {
			t.Errorf("got %d frames without agreement", len(*got))
		}

		dev, cast, got := attach(true)
		send := func(text string, want int) {
			t.Helper()
			cast(0x81, tunnel.KindShard, []byte(text))
			synctest.Wait()
			if len(*got) != want {
				t.Fatalf("%s: %d frames so far, want %d", text, len(*got), want)
			}
			if f := (*got)[want-1]; f.Lane.Endpoint() != 0x81 || f.Kind != tunnel.KindShard {
				t.Errorf("%s: kind %d on lane %#x", text, f.Kind, uint32(f.Lane))
			}
		}
		send("first", 1)
		send("second", 2)
		sc.cable.cut(false)
		synctest.Wait()
		send("without a link", 2)
		sc.cable = sc.connect(newRand(2), true, link.RankHost, -1)
		synctest.Wait()
		send("over the next link", 3)
		_ = dev.Close()
		send("after the end", 3)
	})
}
