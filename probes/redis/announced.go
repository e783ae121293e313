package redis

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// announcedAddress gives host:port of what a server or Sentinel says of another one; empty where nothing can be asked there. A
// host that is missing or "?" is nobody's: taken as the teller's own, another server would be counted as the teller.
func announcedAddress(host, port string) string {
	host, port = strings.TrimSpace(host), strings.TrimSpace(port)
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return ""
		}
		return net.JoinHostPort(host, port)
	}
	if !isHostName(host) {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// mostHostName is the longest that a name in DNS can be.
const mostHostName = 253

// isHostName: letters, digits, and what stands between them; at least one of them no dot.
func isHostName(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '-' || c == '.'), c == '_', c >= 0x80: // a name in other letters is the resolver's to judge
		default:
			return false
		}
	}
	return s != "" && len(s) <= mostHostName
}
