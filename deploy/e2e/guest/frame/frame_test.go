package frame

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestLongPayloadComesInSeveralFrames(t *testing.T) {
	var wire bytes.Buffer
	sent := bytes.Repeat([]byte("0123456789abcdef"), MaxPayload/8)
	if err := NewWriter(&wire).Write(Stdout, 7, sent); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for range 2 {
		f, err := Read(&wire)
		if err != nil || f.Type != Stdout || f.Session != 7 {
			t.Fatalf("%c %d, %v", f.Type, f.Session, err)
		}
		got = append(got, f.Payload...)
	}
	if !bytes.Equal(got, sent) {
		t.Error("the payload is not what was sent")
	}
	if _, err := Read(&wire); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestEmptyPayloadIsAFrame(t *testing.T) {
	var wire bytes.Buffer
	if err := NewWriter(&wire).Write(Stdin, 1, nil); err != nil {
		t.Fatal(err)
	}
	if f, err := Read(&wire); err != nil || f.Type != Stdin || len(f.Payload) != 0 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestBadFramesAreErrors(t *testing.T) {
	for name, raw := range map[string]string{
		"payload too long": "O\x00\x00\x00\x01\x00\x00\x80\x01",
		"payload missing":  "O\x00\x00\x00\x01\x00\x00\x00\x01",
		"header cut":       "O\x00\x00",
	} {
		if _, err := Read(bytes.NewReader([]byte(raw))); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("O\x00\x00\x00\x01\x00\x00\x00\x02hi"))
	f.Add([]byte("I\x00\x00\x00\x01\x00\x00\x00\x00"))
	f.Add([]byte("R\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := Read(bytes.NewReader(raw))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := NewWriter(&again).Write(got.Type, got.Session, got.Payload); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(raw, again.Bytes()) {
			t.Errorf("%x is written again as %x", raw, again.Bytes())
		}
	})
}
