package probes

import (
	"strconv"
)

func count(s string) Count {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Count{}
	}
	return Count{Value: f, Known: true}
}
