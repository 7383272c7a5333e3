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

func TestSilentLinkIsDeadAfterNineSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 0)
		defer sc.end()
		pause(time.Minute) // pings keep an idle link alive
		if !sc.a.Status().Linked || !sc.b.Status().Linked {
			t.Fatal("an idle link died")
		}
		sc.wire.silence()
		pause(silenceTimeout + time.Second)
		linked, since, ok := sc.b.Holds("1-1")
		if linked || !ok || time.Since(since) > 6*time.Second {
			t.Errorf("holds: linked %v since %v ago, %v", linked, time.Since(since), ok)
		}
		if _, _, ok := sc.b.Holds("9-9"); ok {
			t.Error("holds a device that it does not have")
		}
		// Another peer wants it: the owner takes it back although nobody answers.
		sc.b.Revoke(func(id string) bool { return id == "1-1" }, "another peer takes it")
		if sc.model.closes() != 1 {
			t.Errorf("given back %d times when Revoke returned", sc.model.closes())
		}
		sc.connect(newRand(5), true, link.RankHost, -1)
		pause(time.Second)
		var ended *EndedError
		if !isGone(sc.dev) || !errors.As(sc.dev.(*remoteDevice).Why(), &ended) || ended.Code != tunnel.CodeRevoked {
			t.Errorf("gone %v: %v", isGone(sc.dev), ended)
		}
	})
}

func TestBetterLinkReplacesWorseOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := setScene(t, 20*time.Millisecond)
		defer sc.end()
		worse := sc.connect(newRand(2), true, link.RankRelayUDP, -1)
		pause(time.Second)
		if st := sc.a.Status(); st.Links[0].Path.Rank != link.RankHost || !st.Links[0].Active {
			t.Errorf("a worse link was taken: %+v", st.Links)
		}
		pause(retireTimeout)
		if !worse.isOver() || sc.wire.isOver() {
			t.Errorf("the worse link is over: %v; the better one: %v", worse.isOver(), sc.wire.isOver())
		}
		newer := sc.connect(newRand(2), false, link.RankHost, -1)
		pause(time.Second)
		if sc.wire.isOver() {
			t.Error("the replaced link had no grace")
		}
		_, done := sc.submit(1, epBulkOut, 2000)
		wantStatus(t, done, time.Second, usb.StatusOK)
		pause(retireTimeout)
		if !sc.wire.isOver() || newer.isOver() {
			t.Errorf("the replaced link is over: %v; the newer one: %v", sc.wire.isOver(), newer.isOver())
		}
	})
}
