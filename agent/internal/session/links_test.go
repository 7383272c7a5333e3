package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/link"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

func TestDeviceOfSilentPeerCanBeRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 0)
		defer sc.end()
		time.Sleep(time.Minute) // an idle link lives on
		if !sc.a.Status().Linked || !sc.b.Status().Linked {
			t.Fatal("an idle link ended")
		}
		sc.cable.silence()
		time.Sleep(link.SilenceTimeout + time.Second)
		linked, since, ok := sc.b.Holds("1-1")
		if linked || !ok || time.Since(since) > 6*time.Second {
			t.Errorf("holds: linked %v since %v ago, %v", linked, time.Since(since), ok)
		}
		if _, _, ok := sc.b.Holds("9-9"); ok {
			t.Error("holds a device that it does not have")
		}
		// The host can give the device to another peer although this one does not answer.
		sc.b.Revoke(func(id string) bool { return id == "1-1" }, "another peer takes it")
		if sc.model.closes() != 1 {
			t.Errorf("given back %d times when Revoke returned", sc.model.closes())
		}
		sc.connect(newRand(5), true, link.RankHost, -1)
		time.Sleep(time.Second)
		var ended *EndedError
		if !isGone(sc.dev) || !errors.As(sc.dev.(*remoteDevice).Why(), &ended) || ended.Code != tunnel.CodeRevoked {
			t.Errorf("gone %v: %v", isGone(sc.dev), ended)
		}
	})
}

func TestBetterLinkReplacesWorseOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t, 20*time.Millisecond)
		defer sc.end()
		worse := sc.connect(newRand(2), true, link.RankRelayUDP, -1)
		time.Sleep(time.Second)
		if st := sc.a.Status(); st.Links[0].Path.Rank != link.RankHost || !st.Links[0].Active {
			t.Errorf("a worse link became the active one: %+v", st.Links)
		}
		time.Sleep(retireTimeout)
		if !worse.isOver() || sc.cable.isOver() {
			t.Errorf("the worse link is over: %v; the better one: %v", worse.isOver(), sc.cable.isOver())
		}
		newer := sc.connect(newRand(2), false, link.RankHost, -1)
		time.Sleep(time.Second)
		if sc.cable.isOver() {
			t.Error("the replaced link was closed at once")
		}
		_, done := sc.submit(1, epBulkOut, 2000)
		wantStatus(t, done, time.Second, usb.StatusOK)
		time.Sleep(retireTimeout)
		if !sc.cable.isOver() || newer.isOver() {
			t.Errorf("the replaced link is over: %v; the newer one: %v", sc.cable.isOver(), newer.isOver())
		}
	})
}
