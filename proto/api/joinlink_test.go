package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/ident"
)

func TestParseJoinLink(t *testing.T) {
	pin := ident.Pin{1, 2, 3}
	for link, want := range map[string]JoinLink{
		"https://rv.example:8443/#invite=abc&pin=" + pin.String(): {Host: "rv.example:8443", Pin: &pin, Invite: "abc"},
		"https://rv.example:8443/#pin=" + pin.String():            {Host: "rv.example:8443", Pin: &pin},
		" https://rv.example/ ":                                   {Host: "rv.example:443"},
		"https://[2001:db8::1]":                                   {Host: "[2001:db8::1]:443"},
		"https://[2001:db8::1]:9/#invite=a":                       {Host: "[2001:db8::1]:9", Invite: "a"},
	} {
		got, err := ParseJoinLink(link)
		if err != nil || got.Host != want.Host || got.Invite != want.Invite {
			t.Errorf("%q: %+v, %v", link, got, err)
			continue
		}
		if (got.Pin == nil) != (want.Pin == nil) || got.Pin != nil && *got.Pin != *want.Pin {
			t.Errorf("%q: pin %v", link, got.Pin)
		}
	}
}

func TestErrorOfBadJoinLinkDoesNotRepeatIt(t *testing.T) {
	for _, link := range []string{
		"", "rv.example:8443", "http://rv.example/#invite=secret", "https:///#invite=secret",
		"https://rv.example/path#invite=secret", "https://rv.example/?invite=secret",
		"https://user:secret@rv.example/", "https://rv.example/#pin=secret", "https://rv.example/#invite=%zz",
		"https://rv.example/#invite=" + strings.Repeat("secret", 100), strings.Repeat("secret", 1000),
	} {
		_, err := ParseJoinLink(link)
		if !errors.Is(err, ErrJoinLink) {
			t.Errorf("%q: %v", link, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error repeats the secret: %v", link, err)
		}
	}
}

func FuzzParseJoinLink(f *testing.F) {
	f.Add("https://rv.example:8443/#invite=abc&pin=" + ident.Pin{}.String())
	f.Add("https://[::1]:1/")
	f.Fuzz(func(t *testing.T, link string) {
		if j, err := ParseJoinLink(link); err == nil && j.Host == "" {
			t.Errorf("%q has no host", link)
		}
	})
}
