package hostile

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// Who names other servers at each scrape, for many scrapes, has no more than the 1,000 that a group may have: the rest is told, and what
// was named before is forgotten.
func TestServersWithoutEnd(t *testing.T) {
	binary := build(t)
	t.Run("servers", func(t *testing.T) { serversWithoutEnd(t, binary, discoveryAttacks()) })
	for _, a := range namesWithoutEnd() {
		t.Run(a.Name, func(t *testing.T) { serversWithoutEnd(t, binary, []Attack{a}) })
	}
	t.Run("names-together", func(t *testing.T) { serversWithoutEnd(t, binary, namesWithoutEnd()) })
}

func serversWithoutEnd(t *testing.T, binary string, attacks []Attack) {
	v := Start(t, binary, 2, attacks)
	rounds := 0
	// all groups are bounded, and whether each has been listed; once it was it stays so.
	all := func() bool {
		rounds++
		metrics, listed := v.Scrape(t), true
		for _, a := range attacks {
			known := value(t, metrics, fmt.Sprintf(`cacheinv_group_nodes{group="%s-1",`, a.Name))
			unreached := value(t, metrics, fmt.Sprintf(`cacheinv_group_unreached_addresses{group="%s-1",`, a.Name))
			if known > 1000 || unreached > 2000 {
				t.Errorf("%s: %v nodes, %v others", a.Name, known, unreached)
			}
			listed = listed && known+unreached >= 1000
		}
		return listed
	}
	servers.Eventually(t, "all groups are listed", all)
	for range pick(200, 6) {
		if !all() {
			t.Error("a group is listed no longer")
		}
	}
	if log := v.Output(); !strings.Contains(log, "more servers are named than the 1,000") {
		t.Errorf("it does not tell that servers are left out:\n%s", tail(log))
	}
	if n := strings.Count(v.Output(), "\n"); n > 100+2*rounds {
		t.Errorf("%d lines of log in %d scrapes:\n%s", n, rounds, tail(v.Output()))
	}
	v.Small(t)
	t.Logf("%d MiB at the peak after %d scrapes", v.PeakMemory(t)>>20, rounds)
}

// value of the first series that begins so.
func value(t *testing.T, metrics, series string) float64 {
	t.Helper()
	l := line(metrics, series, "", "")
	n, err := strconv.ParseFloat(l[strings.LastIndexByte(l, ' ')+1:], 64)
	if err != nil {
		t.Errorf("no %s: %v", series, err)
	}
	return n
}
