package group

import (
	"errors"
	"time"
)

// MostMembers of a group are asked: a list of more is a mistake, or an attack.
const MostMembers = 1000

var errTooMany = errors.New("more servers are named than the 1,000 that are asked of one group, and the rest is left out; " +
	"look who names them, or make several groups of it")

// addresses are what is known of a group's addresses: whose they are, and which are not asked, and why.
type addresses[M memberOf] struct {
	// asked are the members, by the addresses at which they are asked; aliases those at which they are known besides.
	asked   map[string]M
	aliases map[string]*alias[M]
	// refused addresses can't be asked at all, so that the log says it once; with when they were named last.
	refused map[string]time.Time
	// leftOut were named in the survey under way when there was no room; at most MostMembers. tooMany is how many there were in
	// the last one.
	leftOut map[string]bool
	tooMany int
	// ended is when the last survey did.
	ended time.Time
}

type alias[M any] struct {
	member M
	// named is when somebody named the address last.
	named time.Time
}

func newAddresses[M memberOf]() addresses[M] {
	return addresses[M]{asked: map[string]M{}, aliases: map[string]*alias[M]{}, refused: map[string]time.Time{}, leftOut: map[string]bool{}}
}

// Find gives the member at an address that somebody names, which may be an alias; else the zero value.
func (a *addresses[M]) Find(address string) M {
	if m, ok := a.asked[address]; ok {
		return m
	}
	if k := a.aliases[address]; k != nil {
		k.named = time.Now()
		return k.member
	}
	var none M
	return none
}

// Alias notes that a member is at an address, too, at which nobody else is asked.
func (a *addresses[M]) Alias(address string, m M) {
	a.aliases[address] = &alias[M]{m, time.Now()}
}

// IsAt reports whether any of these is an address of a member.
func (a *addresses[M]) IsAt(m M, these map[string]bool) bool {
	if len(these) == 0 {
		return false
	}
	if these[m.base().Address] {
		return true
	}
	for address, k := range a.aliases {
		if k.member == m && these[address] {
			return true
		}
	}
	return false
}

// hasRoom for another address among so many members. One that finds none is counted.
func (a *addresses[M]) hasRoom(members int, address string) bool {
	if members < MostMembers && len(a.aliases)+len(a.refused) < MostMembers {
		return true
	}
	if len(a.leftOut) < MostMembers {
		a.leftOut[address] = true
	}
	return false
}

// forgetAliases of a member: if something announces them, they are asked.
func (a *addresses[M]) forgetAliases(m M) {
	for address, k := range a.aliases {
		if k.member == m {
			delete(a.aliases, address)
		}
	}
}

// end a survey. Addresses that nobody named in it are forgotten, aliases after a while unless they take others' room: who names them
// again has them asked again.
func (a *addresses[M]) end(after time.Duration) {
	now, crowded := time.Now(), len(a.leftOut) > 0
	for address, k := range a.aliases {
		if k.named.Before(a.ended) && (crowded || now.Sub(k.named) > after) {
			delete(a.aliases, address)
		}
	}
	for address, named := range a.refused {
		if named.Before(a.ended) {
			delete(a.refused, address)
		}
	}
	a.tooMany, a.ended = len(a.leftOut), now
	clear(a.leftOut)
}

// Add a member, which is asked at its address.
func (g *Members[M]) Add(m M) {
	g.All = append(g.All, m)
	if address := m.base().Address; g.asked[address] == *new(M) {
		g.asked[address] = m
	}
}

// move a member to one of its aliases. The address at which it was becomes one.
func (a *addresses[M]) move(m M, address string) {
	b := m.base()
	delete(a.aliases, address)
	delete(a.asked, b.Address)
	a.Alias(b.Address, m)
	b.Address = address
	a.asked[address] = m
}
