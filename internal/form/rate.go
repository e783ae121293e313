package form

import (
	"strconv"
	"strings"
)

// RateForm is how a rate is written.
const RateForm = "N/s, N/m or N/h, so many in a second, minute or hour, such as 1000/m"

// ParseRate reads N/s, N/m or N/h as so many in a second. 0 needs no unit.
func ParseRate(text string) (perSecond float64, ok bool) {
	number, unit, _ := strings.Cut(text, "/")
	seconds, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.ParseUint(number, 10, 53)
	switch {
	case text == "0":
		return 0, true
	case err != nil || !known:
		return 0, false
	}
	return float64(n) / seconds, true
}

// Rate reads what ParseRate does, of 1 or more; 0 where none is given, or a fault.
func (v Value) Rate() float64 {
	text, ok := v.Text(RateForm)
	if !ok {
		return 0
	}
	perSecond, ok := ParseRate(text)
	switch {
	case !ok:
		v.Fault("is %s; write %s", v.Quoted(), RateForm)
	case perSecond == 0:
		v.Fault("is %s; write 1 or more, such as 1000/m", v.Quoted())
	}
	return perSecond
}

// RateLimit reads a rate that bounds something: 0 is no limit.
func (v Value) RateLimit() float64 {
	text, ok := v.Text(RateForm)
	if !ok {
		return 0
	}
	perSecond, ok := ParseRate(text)
	if !ok {
		v.Fault("is %s; write %s, or 0 for no limit", v.Quoted(), RateForm)
	}
	return perSecond
}
