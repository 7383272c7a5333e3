package main

import "testing"

func TestRatesAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		"20Mbit/s": "20 Mbit/s", "20 mbit": "20 Mbit/s", "20M": "20 Mbit/s", "0.5 Mbit/s": "500 kbit/s",
		"64k": "64 kbit/s", "2.5Gbit/s": "2.5 Gbit/s", "1500000bit/s": "1.5 Mbit/s", "none": "none",
	} {
		var b bitRate
		if err := b.UnmarshalText([]byte(text)); err != nil || b.String() != want {
			t.Errorf("%q: %v (%v), want %s", text, b, err, want)
		}
	}
	for _, text := range []string{"", "20", "fast", "20MB/s", "-1M", "1k", "1e30", "NaNM", "infM", "2000Gbit/s", "M"} {
		var b bitRate
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, b)
		}
	}
}
