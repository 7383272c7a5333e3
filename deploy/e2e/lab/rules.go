package lab

import (
	"net/netip"
	"strings"
)

// firewallRules returns the nftables chains of a router's firewall.
func firewallRules(n *Node) string {
	if len(n.LAN) == 0 {
		return ""
	}
	fw := n.FW
	if fw == nil {
		fw = &Firewall{}
	}
	var s script
	s.add("chain forward { type filter hook forward priority 0; policy accept;")
	if !fw.Open6 && (n.NAT != nil || n.FW != nil) {
		s.add(`meta nfproto ipv6 ct state established,related accept
			meta nfproto ipv6 iifname "up0" drop`)
	}
	for _, a := range fw.Allow {
		switch proto, port, ok := strings.Cut(a, "/"); {
		case ok:
			s.add(`iifname "lan0" %s dport %s accept`, proto, port)
		case a == "icmp":
			s.add(`iifname "lan0" meta l4proto { icmp, icmpv6 } accept`)
		default:
			s.add(`iifname "lan0" meta l4proto %s accept`, proto)
		}
	}
	if len(fw.Allow) > 0 {
		verdict := "drop"
		if fw.Reject {
			verdict = "reject with icmpx type admin-prohibited"
		}
		s.add(`iifname "lan0" %s`, verdict)
	}
	s.add("}")
	return s.String()
}

// natRules returns the nftables chains of a NAT of the "linux" engine.
func natRules(n *Node) string {
	nat := n.NAT
	if nat == nil || nat.Engine != "linux" {
		return ""
	}
	var s script
	if nat.WAN != "accept" {
		// If these packets were only rejected, conntrack would remember the sender and
		// give a later flow to it another port.
		s.add(`chain input { type filter hook input priority 0; policy accept;
			meta nfproto ipv4 iifname "up0" ct state new drop
		}`)
	}
	if len(nat.Forward) > 0 {
		s.add("chain open { type nat hook prerouting priority dstnat - 1; policy accept;")
		for _, f := range nat.Forward {
			to := netip.MustParseAddrPort(f.To)
			s.add(`ip daddr %s %s dport %d dnat ip to %s`, n.public(), f.Proto, f.Port, to)
		}
		s.add("}")
	}
	if nat.Map == "fullcone" {
		s.add(`map cone { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout %ds; }
			chain learn { type filter hook postrouting priority 50; policy accept;
			meta nfproto ipv4 oifname "up0" meta l4proto udp update @cone { udp sport : ip saddr . udp sport }
			}
			chain pre { type nat hook prerouting priority dstnat; policy accept;
			ip daddr %s meta l4proto udp dnat ip to udp dport map @cone
			}
			chain hair { type nat hook postrouting priority 90; policy accept;
			meta nfproto ipv4 iifname "lan0" oifname "lan0" ct status dnat snat ip to %s
			}`, int(nat.Timeout.Seconds()), n.public(), n.public())
	}
	flag := ""
	if strings.HasSuffix(nat.Map, "random") {
		flag = nat.Map // nftables uses the same words
	}
	s.add(`chain post { type nat hook postrouting priority srcnat; policy accept;
		meta nfproto ipv4 oifname "up0" masquerade %s
		}`, flag)
	return s.String()
}
