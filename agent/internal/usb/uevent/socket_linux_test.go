package uevent

import (
	"errors"
	"os"
	"testing"
)

// TestKernelEventIsReceived makes the kernel send an event of /dev/null, which
// every machine has.
func TestKernelEventIsReceived(t *testing.T) {
	s, err := Open()
	if err != nil {
		t.Skip(err)
	}
	received := make(chan error, 1)
	go func() {
		for {
			e, _, err := s.Receive()
			if err != nil || e.Action == "change" && e.Path == "/devices/virtual/mem/null" && e.Subsystem == "mem" {
				received <- err
				return
			}
		}
	}()
	if err := os.WriteFile("/sys/devices/virtual/mem/null/uevent", []byte("change"), 0); err != nil {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-received
		t.Skip("only root can make the kernel send an event: ", err)
	}
	if err := <-received; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Receive(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseEndsReceive(t *testing.T) {
	s, err := Open()
	if err != nil {
		t.Skip(err)
	}
	ended := make(chan error)
	go func() {
		for {
			if _, _, err := s.Receive(); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
