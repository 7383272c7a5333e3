package registry_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

func TestScopes(t *testing.T) {
	for i, one := range api.Scopes {
		set, err := registry.ScopesOf([]api.Scope{one, one})
		if err != nil || !slices.Equal(set.List(), []api.Scope{one}) {
			t.Errorf("%s: %v, %v", one, set.List(), err)
		}
		for j, other := range api.Scopes {
			if got, want := set.Covers(other), i == j || one == api.ScopeAdmin; got != want {
				t.Errorf("%s covers %s: %v, want %v", one, other, got, want)
			}
		}
		if !set.Covers("") {
			t.Errorf("%s does not cover what needs no scope", one)
		}
	}
	if all, err := registry.ScopesOf(api.Scopes); err != nil || all != registry.AllScopes || !slices.Equal(registry.ScopesAdmin.List(), []api.Scope{api.ScopeAdmin}) {
		t.Errorf("all scopes are %v, %v", all.List(), err)
	}
	for _, wrong := range [][]api.Scope{nil, {"everything"}, {api.ScopePeers, ""}} {
		if _, err := registry.ScopesOf(wrong); !errors.Is(err, registry.ErrTokenSpec) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
