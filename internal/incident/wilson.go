package incident

import "math"

// wilson is the 95% score interval of a share of stale among compared; it is unknown where nothing was compared.
func wilson(stale, compared int) (share, low, high float64, ok bool) {
	if compared == 0 {
		return 0, 0, 0, false
	}
	const z = 1.959963984540054
	n := float64(compared)
	share = float64(stale) / n
	centre := (share + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(share*(1-share)/n+z*z/(4*n*n))
	low, high = max(0, centre-half), min(1, centre+half)
	if stale == 0 { // exact at the ends, where rounding would not be
		low = 0
	}
	if stale == compared {
		high = 1
	}
	return share, low, high, true
}
