package config

import (
	"slices"
	"strings"
)

func (v value) sentinel(once func(at value, server string)) *Sentinel {
	s := v.section()
	out := &Sentinel{}
	master, addresses := s.get("master"), s.get("addresses")
	const name = "the master's name, as Sentinel's configuration has it"
	if s.require(master, name) {
		out.Master = master.word(name)
	}
	s.require(addresses, "a list of host:port")
	addresses.addresses("a Sentinel", "26379", func(_ value, address string) { out.Addresses = append(out.Addresses, address) })
	out.Credentials = s.credentials().passwordedUser()
	out.TLS = s.tls()
	s.done()
	if out.Master != "" {
		for _, address := range slices.Sorted(slices.Values(out.Addresses)) {
			once(addresses, "sentinel "+strings.ToLower(address)+" "+out.Master)
		}
	}
	return out
}
