package stream

import (
	"github.com/easyfind-usb/easyfind/agent/internal/stage/ahead"
	"github.com/easyfind-usb/easyfind/agent/internal/usb"
)

// Exchange returns the endpoints of protocols with a response to every request. Nothing is
// posted ahead: the program asks for the response when its request has been answered
// early.
func Exchange(info usb.Info) ahead.Plan {
	plan := ahead.Plan{In: map[usb.Endpoint]ahead.Policy{}, Out: map[usb.Endpoint]ahead.Early{}}
	for _, setting := range settings(info) {
		if !isExchange(setting.Interface) {
			continue
		}
		var in, out []usb.EndpointDescriptor
		for _, e := range setting.Endpoints {
			switch {
			case e.Type != usb.Bulk:
			case e.Address.In():
				in = append(in, e)
			default:
				out = append(out, e)
			}
		}
		if len(in) == 1 && len(out) == 1 {
			plan.In[in[0].Address] = policy(setting, in[0])
			plan.Out[out[0].Address] = ahead.Early{In: in[0].Address}
		}
	}
	return plan
}

// isExchange reports whether the protocol of an interface answers every request.
func isExchange(i usb.Interface) bool {
	switch {
	case i.Class == 0x0b: // smart card
		return true
	case i.Class == classVendor && i.SubClass == 0x42: // Android
		return i.Protocol == 1 || i.Protocol == 3 // Debug Bridge, Fastboot
	}
	return false
}
